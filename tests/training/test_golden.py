"""Runs reproduce every digit of the numbers that version 0.1.0 recorded."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.studies import rounds_like, untimed_table
from support.training import TrainRun

from resnet_degradation.config.schema import Config

RECORDED = Path(__file__).parents[1] / "support" / "data" / "golden-0.1.0"
TORCH, CPU = "2.14.1", "AMD EPYC"  # of the machine that made the records
SMALL = ("family=imagenet", "width=0.125", "data.image_size=32")
RUNS = {
    "ResNet-8-seed0-6a9add00": ("depth=8", "recipe.iterations=30", "runtime.signals_every=10"),
    "plain-8-seed3-a399fb3a": ("depth=8", "residual=false", "recipe.iterations=30", "seed=3"),
    "ResNet-20-C-width0.5-seed0-dea840a0": (
        *("depth=20", "width=0.5", "shortcut=C"),
        *("recipe.iterations=12", "recipe.warmup=always"),
    ),
    "ResNet-18-width0.125-seed0-afc41d8f": ("depth=18", *SMALL, "recipe.iterations=8"),
    "ResNet-50-width0.125-seed0-ec4f1045": ("depth=50", *SMALL, "recipe.iterations=6"),
}


@pytest.mark.parametrize("name", RUNS)
def test_numbers_of_0_1_0_are_repeated(
    name: str, tmp_path: Path, configure: Callable[..., Config], train_run: TrainRun
) -> None:
    folder = train_run(
        configure(*RUNS[name], "runtime.num_threads=1", f"output_dir={tmp_path / 'outputs'}")
    )
    assert folder.name == name
    same_rounding = rounds_like(TORCH, CPU)
    for file in sorted((RECORDED / name).glob("*.csv")):
        recorded, rows = untimed_table(file), untimed_table(folder / file.name)
        assert [list(row) for row in rows] == [list(row) for row in recorded]
        if same_rounding:
            assert rows == recorded, file.name
    if not same_rounding:  # rounding differs, so the runs drift apart
        first, recorded_first = (
            untimed_table(f / "metrics.csv")[0] for f in (folder, RECORDED / name)
        )
        assert float(first["train_loss"]) == pytest.approx(
            float(recorded_first["train_loss"]), rel=0.02
        )
