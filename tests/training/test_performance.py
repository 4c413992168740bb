"""Settings that save time or memory do not change results. (`make bench` measures the speed.)"""

import copy
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.training import Tiny, TrainRun, assert_equal_states, final_state, without_times
from torch.nn import functional as F

from resnet_degradation.console.progress import RunProgress
from resnet_degradation.nets.activation_checkpointing import (
    activation_bytes,
    choose_segment_lengths,
)
from resnet_degradation.nets.build import initialize
from resnet_degradation.nets.cost import layer_costs
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.records.metrics import read_metrics
from resnet_degradation.records.summary import read_final_errors
from resnet_degradation.training import memory
from resnet_degradation.training.build import prepare, wrap_for_training
from resnet_degradation.training.session import train
from resnet_degradation.training.step import update


@settings(deadline=None, max_examples=25)
@given(
    depth_and_family=st.sampled_from([(8, "cifar"), (20, "cifar"), (18, "imagenet")]),
    residual=st.booleans(),
    shortcut=st.sampled_from(["A", "B", "C"]),
    lengths=st.lists(st.integers(1, 4), min_size=4, max_size=4),
)
def test_gradients_and_statistics_are_the_same_to_the_bit_when_activations_are_recomputed(
    depth_and_family: tuple[int, str], residual: bool, shortcut: str, lengths: list[int]
) -> None:
    depth, family = depth_and_family
    net = ResNet(
        depth, residual, family=family, shortcut=shortcut, width=0.25  # type: ignore[arg-type]
    )  # fmt: skip
    initialize(net, 0)
    other = copy.deepcopy(net)
    other.segment_lengths = lengths[: len(net.stages())]
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    for each in (net, other):
        for _ in range(2):  # the second time, running statistics differ from the initial ones
            F.cross_entropy(each(images), labels).backward()
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)  # type: ignore[arg-type]
    assert_equal_states(net.state_dict(), other.state_dict())
    assert all(norm.num_batches_tracked == 2 for norm in other.modules() if hasattr(norm, "eps"))


def test_a_bottleneck_net_is_recomputed_to_the_bit() -> None:
    net = ResNet(50, True, family="imagenet", shortcut="B", width=0.125)
    initialize(net, 0)
    other = copy.deepcopy(net)
    other.segment_lengths = choose_segment_lengths(activation_bytes(layer_costs(net, 32)))
    images = torch.randn(2, 3, 32, 32)
    grads = []
    for each in (net, other):
        each(images).sum().backward()
        grads.append([parameter.grad for parameter in each.parameters()])
    assert_equal_states(*grads)


def test_recomputation_is_in_the_precision_of_the_forward_pass() -> None:
    net = ResNet(8, True, family="cifar")
    initialize(net, 0)
    other = copy.deepcopy(net)
    other.segment_lengths = [1, 1, 1]
    images = torch.randn(2, 3, 16, 16)
    grads = []
    for each in (net, other):
        with torch.autocast("cpu", torch.bfloat16):
            scores = each(images)
        scores.float().square().sum().backward()
        grads.append([parameter.grad for parameter in each.parameters()])
    assert_equal_states(*grads)


def test_recomputation_leaves_out_what_is_not_trained_and_the_last_segment() -> None:
    net = ResNet(14, True, family="cifar")
    initialize(net, 0)
    net.requires_grad_(False)
    trained = net.get_submodule("layer3.1.conv2")
    for layer in (trained, net.get_submodule("layer2.0.conv1")):
        layer.requires_grad_()
    other = copy.deepcopy(net)
    other.segment_lengths = [2, 1, 1]
    passes: list[str] = []
    for name, module in other.named_modules():
        if name.startswith("layer") and name.count(".") == 1:
            module.register_forward_hook(lambda *_, name=name: passes.append(name))
    images = torch.randn(2, 3, 16, 16)
    for each in (net, other):
        each(images).square().sum().backward()
    grads = [{n: p.grad for n, p in each.named_parameters()} for each in (net, other)]
    assert sum(grad is not None for grad in grads[0].values()) == 2
    assert_equal_states(*grads)
    # Layers before the first trained layer need no backward pass.
    assert [passes.count(f"layer{s}.{b}") for s in (1, 2, 3) for b in (0, 1)] == [1, 1, 2, 2, 2, 1]


def test_gradients_keep_their_memory_where_activations_do_not(tiny: Tiny) -> None:
    run = prepare(tiny("runtime.checkpoint_activations=on"))
    forward = wrap_for_training(run)
    places = []
    for images, labels in itertools.islice(run.batches.training(0, 3), 3):
        update(run, forward, images, labels, lr=0.1)
        grads = [parameter.grad for parameter in run.net.parameters()]
        places.append([grad.data_ptr() for grad in grads if grad is not None])
    assert len(places[0]) == len(list(run.net.parameters()))
    assert places[0] == places[1] == places[2]


def test_a_run_comes_to_the_same_whether_activations_are_kept_or_not(
    tiny: Tiny, train_run: TrainRun
) -> None:
    kept = train_run(tiny("runtime.checkpoint_activations=off"))
    records = (without_times(kept), read_final_errors(kept), final_state(kept))
    tiny_again = tiny("runtime.checkpoint_activations=on")
    for file in sorted(kept.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    again = train_run(tiny_again)
    assert again == kept  # the setting is not part of the run's identity
    assert_equal_states(
        records, (without_times(again), read_final_errors(again), final_state(again))
    )


@pytest.mark.parametrize(("depth", "residual"), [(20, True), (56, False), (110, True)])
def test_segments_are_nearly_the_best_there_are(depth: int, residual: bool) -> None:
    net = ResNet(depth, residual, family="cifar")
    stages = activation_bytes(layer_costs(net, 32))

    def peak(lengths: tuple[int, ...]) -> float:
        kept = sum(
            math.ceil(len(blocks) / length) * blocks[-1][1]
            for blocks, length in zip(stages, lengths, strict=True)
        )
        return kept + max(
            length * blocks[-1][0] for blocks, length in zip(stages, lengths, strict=True)
        )

    possible = itertools.product(*(range(1, len(blocks) + 1) for blocks in stages))
    assert peak(tuple(choose_segment_lengths(stages))) <= 1.25 * min(peak(p) for p in possible)


def test_activations_are_counted_as_they_are_kept() -> None:
    """The reference is what autograd saves in a plain net, which keeps nothing else."""
    net = ResNet(20, False, family="cifar")
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() == 4 and not isinstance(tensor, torch.nn.Parameter):
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores = net(torch.randn(2, 3, 32, 32))
    counted = 2 * sum(
        kept for blocks in activation_bytes(layer_costs(net, 32)) for kept, _ in blocks
    )
    stem = 2 * 4 * (3 + 2 * 16) * 32 * 32
    assert sum(saved.values()) == pytest.approx(counted + stem, rel=0.02)
    assert scores.requires_grad


@pytest.mark.parametrize(("free", "expected"), [(10**5, True), (10**12, False), (None, False)])
def test_activations_are_recomputed_where_they_do_not_fit(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, free: int | None, expected: bool
) -> None:
    monkeypatch.setattr(memory, "get_free_memory", lambda _device: free)
    assert (prepare(tiny()).net.segment_lengths is not None) == expected


def test_free_memory_is_known_here_or_not_at_all() -> None:
    free = memory.get_free_memory(torch.device("cpu"))
    assert free is None or 10**7 < free < 10**14


def test_the_memory_left_is_that_of_the_tightest_limit(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("4:memory:/other\n0::/slurm/job\n")
    for group, limit in (("", "max"), ("slurm", "9000"), ("slurm/job", "5000")):
        (tmp_path / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / group / "memory.max").write_text(limit)
        (tmp_path / group / "memory.current").write_text("1000")
    left = memory.get_cgroup_headroom(str(tmp_path), str(tmp_path))
    assert sorted(left) == [4000, 8000]
    assert memory.get_cgroup_headroom(str(tmp_path / "none")) == []


@contextmanager
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every call fail that would make the CPU wait for the GPU."""

    def waited(*_arguments: object, **_named: object) -> None:
        raise AssertionError("the device was waited for")

    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
            patch.setattr(torch.Tensor, name, waited)
        patch.setattr(torch.Tensor, "nonzero", waited)
        yield


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_iteration_does_not_wait_for_the_device(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    run = prepare(tiny(f"runtime.precision={precision}"))
    batches, forward = run.batches.training(0, 3), wrap_for_training(run)
    for images, labels in batches:
        with no_waiting(monkeypatch):
            update(run, forward, images, labels, lr=0.1)
    assert int(run.meter.num_finite) == 3


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_other_precisions_learn_in_separate_folders(
    tiny: Tiny, train_run: TrainRun, precision: str
) -> None:
    config = tiny(f"runtime.precision={precision}", "recipe.iterations=60", "width=1")
    allowed = set()

    class Watching(RunProgress):
        def advance(self, done: int) -> None:
            allowed.add(torch.backends.cudnn.allow_tf32)

    folder = train(config, Watching(Console(quiet=True)))
    rows = read_metrics(folder)
    assert rows[-1].train_loss < 0.6 * rows[0].train_loss
    assert allowed == {precision == "tf32"}
    assert folder.name != train_run(tiny("recipe.iterations=60", "width=1")).name


def test_a_first_step_that_overflows_in_fp16_leaves_no_momentum(tiny: Tiny) -> None:
    run = prepare(tiny("runtime.precision=fp16"))
    forward = wrap_for_training(run)
    run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": float("inf")})
    before = [parameter.clone() for parameter in run.net.parameters()]
    (images, labels) = next(run.batches.training(0, 1))
    update(run, forward, images, labels, lr=0.1)
    for old, parameter in zip(before, run.net.parameters(), strict=True):
        assert torch.equal(old, parameter)
        assert not run.optimizer.state[parameter]["momentum_buffer"].any()


def test_the_scale_of_the_loss_is_part_of_a_checkpoint(tiny: Tiny, train_run: TrainRun) -> None:
    scaler = final_state(train_run(tiny("runtime.precision=fp16")))["scaler"]
    assert scaler["scale"] > 0
    assert not final_state(train_run(tiny()))["scaler"]
