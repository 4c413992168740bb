"""Decisions about Apple GPUs that can be tested without one; these tests never ran on one."""

from collections.abc import Callable

import pytest
import torch
from support.training import Tiny
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from resnet_degradation.config.schema import Config
from resnet_degradation.distributed.world import SINGLE_PROCESS
from resnet_degradation.system import apple_gpu
from resnet_degradation.system.apple_gpu import apple_gpu_note, choose_memory_format, to_float64
from resnet_degradation.system.errors import ConfigError, explain
from resnet_degradation.training.build import check_step_capture, choose_device
from resnet_degradation.training.launch import num_processes
from resnet_degradation.training.meters import Meter

CPU, MPS = torch.device("cpu"), torch.device("mps")


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer with an Apple GPU and no other GPU."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.mark.usefixtures("mac")
def test_it_is_used_only_if_it_is_named(configure: Callable[..., Config]) -> None:
    assert choose_device(configure("depth=8", "runtime.device=mps")) == MPS
    assert choose_device(configure("depth=8", "runtime.device=auto")) == CPU
    assert choose_device(configure("depth=8", "runtime.device=cpu")) == CPU
    assert num_processes(configure("depth=8", "runtime.device=mps", "runtime.devices=auto")) == 1
    assert "runtime.device=mps" in (apple_gpu_note("auto") or "")
    assert apple_gpu_note("cpu") is None


def test_it_is_refused_where_there_is_none(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"torch finds no Apple GPU here: use runtime\.device="):
        choose_device(configure("depth=8", "runtime.device=mps"))
    assert apple_gpu_note("auto") is None


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("runtime.devices=2", "is for one process"),
        ("runtime.precision=bf16", "computes in fp32"),
        ("runtime.precision=fp16", "computes in fp32"),
        ("runtime.compile=net", "trains without a compiler"),
        ("runtime.compile=step", "trains without a compiler"),
        ("runtime.checkpoint_activations=on", "keeps all activations"),
    ],
)
def test_what_was_not_prepared_for_it_is_refused(
    configure: Callable[..., Config], setting: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"runtime.device=mps {reason}"):
        configure("depth=8", "runtime.device=mps", setting)


def test_processes_of_torchrun_are_refused(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="start it without torchrun"):
        configure("depth=8", "runtime.device=mps")


def test_steps_are_not_captured(configure: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        check_step_capture(configure("depth=8", "runtime.compile=step"), MPS, SINGLE_PROCESS)


def test_sums_in_float64_are_kept_on_the_cpu() -> None:
    meter = Meter(MPS, ("row",))
    meter.update(torch.tensor(0.5), torch.eye(4), torch.tensor([0, 1, 2, 0]))
    assert meter.read("row") == (0.5, 25.0, 4)
    assert meter.totals.device == CPU
    assert to_float64(torch.ones(2)).dtype == torch.float64


def test_no_layer_gets_channels_last(
    tiny: Tiny, train_run: Callable[[Config], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MPS had wrong gradients of batch normalization in channels-last format. Runs on the CPU."""
    assert choose_memory_format(MPS) == torch.contiguous_format
    assert choose_memory_format(CPU) == torch.channels_last
    monkeypatch.setattr(apple_gpu, "MPS", "cpu")
    formats: set[bool] = set()

    def look(module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            formats.update(tensor.is_contiguous() for tensor in (module.weight, *given, out))
            if out.requires_grad:
                out.register_hook(lambda gradient: formats.add(gradient.is_contiguous()))

    hook = register_module_forward_hook(look)
    try:
        train_run(tiny("recipe.iterations=2", "data.image_size=16"))
    finally:
        hook.remove()
    assert formats == {True}


def test_its_lack_of_memory_is_explained() -> None:
    full = RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)")
    assert "smaller recipe.batch_size" in (explain(full) or "")
