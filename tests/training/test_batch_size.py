"""If a step runs out of GPU memory, the message names batch sizes that would fit."""

import weakref

import pytest
import torch
from support.training import Tiny, TrainRun

from resnet_degradation.config.schema import Config
from resnet_degradation.training import batch_size, step
from resnet_degradation.training.batch_size import (
    estimate_largest_batch,
    out_of_memory_error,
    try_step,
)
from resnet_degradation.training.build import prepare
from resnet_degradation.training.state import Run


@pytest.mark.parametrize(
    ("usable", "peaks", "expected"),
    [
        (10_000, {16: 2_600, 8: 1_800}, 90),  # 1,000 bytes and 100 for each image
        (10_099, {8: 1_800, 16: 2_600}, 90),
        (10_100, {8: 1_800, 16: 2_600}, 91),
        (2_600, {8: 1_800, 16: 2_600}, 16),
        (10_000, {8: 1_800, 16: 1_800}, 0),
        (10_000, {8: 1_800, 16: 1_700}, 0),
    ],
)
def test_the_largest_batch_is_on_the_line_through_two_peaks(
    usable: float, peaks: dict[int, int], expected: int
) -> None:
    assert estimate_largest_batch(usable, peaks) == expected


def message(
    config: Config, monkeypatch: pytest.MonkeyPatch, usable: int, per_image: int = 100
) -> str:
    """The message on a GPU on which a step takes 1,000 bytes, plus `per_image` per image."""

    def peak(_run: Run, size: int) -> int:
        if 1_000 + per_image * size > usable:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return 1_000 + per_image * size

    monkeypatch.setattr(batch_size, "measure_peak_memory", peak)
    monkeypatch.setattr(batch_size, "get_usable_memory", lambda _run: usable)
    return str(out_of_memory_error(prepare(config)))


@pytest.mark.parametrize(
    ("usable", "fits"),
    [
        (3_900, "16 fits, and about 29 should fit"),
        (10**6, "16 fits, and about 31 should fit"),
        (2_000, "8 fits, and about 10 should fit"),
        (1_850, "8 fits"),
        (1_200, "2 fits"),
        (1_100, "no smaller size fits"),
    ],
)
def test_a_batch_that_does_not_fit_is_answered_with_one_that_does(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, usable: int, fits: str
) -> None:
    assert message(tiny(), monkeypatch, usable) == (
        f"out of memory: recipe.batch_size=32 does not fit on this GPU; {fits}. Lower "
        "recipe.batch_size, or set runtime.checkpoint_activations=on, or try a smaller width or "
        "data.image_size"
    )


def test_recomputing_is_no_advice_where_it_is_done(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("runtime.checkpoint_activations=on")
    assert "checkpoint_activations" not in message(config, monkeypatch, usable=2_000)


def test_the_tensors_of_a_failed_step_are_gone_before_others_are_tried(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepare(tiny())
    run.device = torch.device("cuda")
    kept: list[weakref.ref[torch.Tensor]] = []

    def failing(_lr: float) -> None:
        activations = torch.zeros(10)
        kept.append(weakref.ref(activations))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    def check(_run: Run) -> Exception:
        assert kept[0]() is None
        return ValueError("checked")

    monkeypatch.setattr(batch_size, "out_of_memory_error", check)
    with pytest.raises(ValueError, match="checked"):
        try_step(run, failing, 0.1)


def test_on_a_cpu_no_smaller_batches_are_tried(
    tiny: Tiny, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_arguments: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(step, "update", failing)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        train_run(tiny())
