"""What stands for CUDA graphs where there is no GPU: operations, recorded and replayed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What a capture refuses: reading a tensor's value on the CPU.
SYNCHRONIZING = ("aten._local_scalar_dense", "aten.nonzero", "aten.is_nonzero", "aten.equal")


class Recorder(TorchDispatchMode):
    """Records every operation on tensors, those of the backward pass and the update included."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).startswith(SYNCHRONIZING):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        out = func(*args, **(kwargs or {}))
        if not str(func).startswith("profiler."):
            tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
            self.calls.append((func, args, kwargs or {}, tensors))
        return out


class RecordedGraph:
    """Repeats recorded operations on the same tensors, and nothing else that Python did."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.num_replays = 0

    @torch.no_grad()
    def replay(self) -> None:
        self.num_replays += 1
        if self.num_replays == 1:  # recording has computed it already; capturing would not have
            return
        for func, args, kwargs, outs in self.recorder.calls:
            again = func(*args, **kwargs)
            new = [leaf for leaf in tree_leaves(again) if isinstance(leaf, Tensor)]
            for old, value in zip(outs, new, strict=True):
                if old.data_ptr() != value.data_ptr():
                    old.copy_(value)


class FakeStream:
    """A stream, of which a CPU has one."""

    def wait_stream(self, other: object) -> None:
        pass


@contextmanager
def record(graph: RecordedGraph, stream: object) -> Iterator[None]:
    with graph.recorder:
        yield


def fake_graphs(
    monkeypatch: pytest.MonkeyPatch, graph: Callable[..., Any] = record
) -> list[RecordedGraph]:
    """Let torch.cuda's graphs be recorded ones; returns those that will have been captured."""
    graphs: list[RecordedGraph] = []

    def make() -> RecordedGraph:
        graphs.append(RecordedGraph())
        return graphs[-1]

    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", make)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    return graphs
