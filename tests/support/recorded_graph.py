"""A substitute for CUDA graphs without a GPU: it records operations and replays them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations that read a tensor's value on the CPU, which fail while a graph is captured.
SYNCHRONIZING = ("aten._local_scalar_dense", "aten.nonzero", "aten.is_nonzero", "aten.equal")


class Recorder(TorchDispatchMode):
    """Records every operation on tensors, also in the backward pass and in the update."""

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
    """Repeats the recorded operations on the same tensors, without running any other code."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.num_replays = 0

    @torch.no_grad()
    def replay(self) -> None:
        self.num_replays += 1
        if self.num_replays == 1:  # unlike a capture, recording has already computed the results
            return
        for func, args, kwargs, outs in self.recorder.calls:
            again = func(*args, **kwargs)
            new = [leaf for leaf in tree_leaves(again) if isinstance(leaf, Tensor)]
            for old, value in zip(outs, new, strict=True):
                if old.data_ptr() != value.data_ptr():
                    old.copy_(value)


class FakeStream:
    """Replaces torch.cuda.Stream on a CPU."""

    def wait_stream(self, other: object) -> None:
        pass


@contextmanager
def record(graph: RecordedGraph, stream: object) -> Iterator[None]:
    with graph.recorder:
        yield


def fake_graphs(
    monkeypatch: pytest.MonkeyPatch, graph: Callable[..., Any] = record
) -> list[RecordedGraph]:
    """Replace torch.cuda's graphs by recorded ones; the returned list collects them."""
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
