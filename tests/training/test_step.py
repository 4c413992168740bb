"""A captured step computes the same as an eager step (CUDA graphs are simulated without a GPU)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from support.recorded_graph import RecordedGraph, fake_graphs
from support.training import (
    PLATEAU,
    WARMUP,
    Configure,
    Tiny,
    TrainRun,
    assert_equal_states,
    final_state,
    interrupt,
    without_times,
)

from resnet_degradation.distributed.world import World
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.training import build
from resnet_degradation.training.build import check_step_capture, prepare
from resnet_degradation.training.step import NUM_WARM_UP_STEPS, StaticStep, training_steps

# Rates that a float32 holds exactly, as graphs read them.
EXACT = ("recipe.lr=0.125", "recipe.gamma=0.5", "recipe.warmup_lr=0.03125")
STEP = "runtime.compile=step"


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[RecordedGraph]:
    """Allow runtime.compile=step on the CPU; gives the captured graphs."""
    monkeypatch.setattr(build, "check_step_capture", lambda *_: None)
    return fake_graphs(monkeypatch)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("runtime.precision=bf16", "runtime.checkpoint_activations=on"),
        ("recipe.momentum=0", "recipe.augmentation=none", "residual=false"),
        (*PLATEAU, *WARMUP),
    ],
)
def test_a_captured_run_is_the_eager_run_bit_for_bit(
    tiny: Tiny,
    train_run: TrainRun,
    tmp_path: Path,
    graphs: list[RecordedGraph],
    settings: tuple[str, ...],
) -> None:
    eager = train_run(tiny(*EXACT, *settings, f"output_dir={tmp_path / 'eager'}"))
    captured = train_run(tiny(*EXACT, *settings, STEP, f"output_dir={tmp_path / 'captured'}"))
    (graph,) = graphs
    assert graph.num_replays == 12 - NUM_WARM_UP_STEPS
    assert without_times(captured) == without_times(eager)
    assert_equal_states(final_state(captured), final_state(eager))


@pytest.mark.parametrize("cut", [2, 8])
def test_a_captured_run_resumes_bit_for_bit(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path, graphs: list[RecordedGraph], cut: int
) -> None:
    whole = train_run(tiny(STEP, f"output_dir={tmp_path / 'whole'}"))
    config = tiny(STEP, f"output_dir={tmp_path / 'cut'}")
    interrupt(config, cut)
    resumed = train_run(config)
    assert graphs
    assert without_times(resumed) == without_times(whole)
    assert_equal_states(final_state(resumed), final_state(whole))


@pytest.mark.long
def test_an_eager_run_resumes_captured_and_the_other_way_round(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path, graphs: list[RecordedGraph]
) -> None:
    whole = train_run(tiny(*EXACT, f"output_dir={tmp_path / 'whole'}"))
    for first, second in ((), (STEP,)), ((STEP,), ()):
        where = (*EXACT, f"output_dir={tmp_path / 'cut'}-{len(first)}")
        interrupt(tiny(*where, *first), 7)
        resumed = train_run(tiny(*where, *second))
        assert_equal_states(final_state(resumed), final_state(whole))
    assert len(graphs) == 2


def test_the_learning_rate_of_a_captured_step_can_change(
    tiny: Tiny, graphs: list[RecordedGraph]
) -> None:
    run = prepare(tiny(STEP, "recipe.momentum=0", "recipe.weight_decay=0"))
    run.net.train()
    weight = run.net.fc.weight
    changes = []
    for step, lr in zip(training_steps(run, 0, 6), (0.1, 0.1, 0.1, 0.1, 0.1, 0), strict=True):
        before = weight.detach().clone()
        step(lr)
        changes.append(float((weight.detach() - before).abs().max()))
    assert min(changes[:5]) > 0
    assert changes[5] == 0
    assert graphs[0].num_replays == 3


def test_what_a_step_works_on_stays_where_it_is(tiny: Tiny) -> None:
    run = prepare(tiny())
    run.net.train()
    step = StaticStep(run, lambda compute: compute)
    places = []
    for iteration in range(3):
        step(iteration, lr=0.1)
        momentum = [state["momentum_buffer"] for state in run.optimizer.state.values()]
        kept = [*run.net.state_dict(keep_vars=True).values(), *momentum, *(step.draw, step.lr)]
        kept += [run.meter.totals, run.meter.num_finite]
        places.append([tensor.data_ptr() for tensor in kept])
        assert [group["lr"] for group in run.optimizer.param_groups] == [0.1]
    assert places[0] == places[1] == places[2]


def test_what_cannot_be_captured_is_refused_in_one_line(
    tiny: Tiny, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def failing(graph: RecordedGraph, stream: object) -> Iterator[None]:
        try:
            yield
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error")

    monkeypatch.setattr(build, "check_step_capture", lambda *_: None)
    fake_graphs(monkeypatch, failing)
    with pytest.raises(ConfigError, match=r"cannot be captured .*previous error.*compile=none"):
        train_run(tiny(STEP))


def test_memory_that_runs_out_in_a_capture_is_reported_as_such(
    tiny: Tiny, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def failing(graph: RecordedGraph, stream: object) -> Iterator[None]:
        try:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error")
        yield

    monkeypatch.setattr(build, "check_step_capture", lambda *_: None)
    fake_graphs(monkeypatch, failing)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        train_run(tiny(STEP))


def test_on_a_cpu_capturing_is_refused(tiny: Tiny, train_run: TrainRun) -> None:
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        train_run(tiny(STEP, "runtime.device=cpu"))


@pytest.mark.parametrize(
    ("settings", "size", "reason"),
    [
        (("runtime.devices=2",), 2, "supports only one process"),
        (("runtime.precision=fp16",), 1, "cannot scale the loss"),
        (("block=blocks:Own",), 1, "cannot capture custom blocks"),
        (("recipe.augmentation=scale-jitter",), 1, "needs images in memory"),
    ],
)
def test_runs_that_cannot_be_captured_are_refused(
    configure: Configure, settings: tuple[str, ...], size: int, reason: str
) -> None:
    gpu, world = torch.device("cuda"), World(size=size)
    check_step_capture(configure(*settings), gpu, world)
    with pytest.raises(ConfigError, match=rf"^runtime.compile=step {reason}") as refused:
        check_step_capture(configure(STEP, *settings), gpu, world)
    assert len(str(refused.value).splitlines()) == 1
    check_step_capture(configure(STEP), gpu, World())
