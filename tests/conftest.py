"""Fixtures of all tests: tiny nets, real images, and one thread per test process."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The tests run in several processes at once, whose commands would compete for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings
from PIL import Image
from rich.console import Console

from resnet_degradation.cli import compose as cli
from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import RunProgress
from resnet_degradation.data.sources.digits import load_digits
from resnet_degradation.training.session import train

# Hypothesis tests the same examples every time; `--hypothesis-profile=default` tests others.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the slow tests, so that they do not run alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # The tests run in several processes. Also, sums on one thread are the same everywhere.
    torch.set_num_threads(1)


@pytest.fixture
def configure() -> Callable[..., Config]:
    """Compose and resolve a configuration from overrides, as resnet-train does."""
    return cli.compose_config


@pytest.fixture
def tiny(tmp_path: Path, configure: Callable[..., Config]) -> Callable[..., Config]:
    """A run of ResNet-8 on 8x8 digits that takes about a second; overrides come last."""

    def config(*overrides: str) -> Config:
        return configure(
            "depth=8",
            "data.image_size=8",
            "width=0.5",
            "recipe.iterations=12",
            "recipe.batch_size=32",
            "recipe.pad=1",
            "runtime.log_every=3",
            "runtime.eval_every=4",
            "runtime.checkpoint_every=5",
            f"output_dir={tmp_path / 'outputs'}",
            *overrides,
        )

    return config


@pytest.fixture
def silent() -> RunProgress:
    """Progress that is not printed."""
    return RunProgress(Console(quiet=True))


@pytest.fixture
def train_run(silent: RunProgress) -> Callable[[Config], Path]:
    """Train a resolved configuration and return its run folder."""
    return lambda config: train(config, silent)


@pytest.fixture
def digits_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write real digits as image files: train/<class>/* and val/<class>/* (or other splits)."""

    def write(
        num_train: int = 8,
        num_val: int = 3,
        classes: tuple[int, ...] = (0, 1, 2),
        size: int = 12,
        held_out: tuple[str, ...] = ("val",),
        suffix: str = ".png",
    ) -> Path:
        root = tmp_path / "images"
        source = load_digits(size)
        images: Any = source.train
        for digit in classes:
            of_class = images.images[images.labels == digit]
            first = 0
            for split, count in (("train", num_train), *((name, num_val) for name in held_out)):
                folder = root / split / f"digit{digit}"
                folder.mkdir(parents=True)
                for number, image in enumerate(of_class[first : first + count]):
                    pixels = image.permute(1, 2, 0).numpy()
                    Image.fromarray(pixels).save(folder / f"{number:03d}{suffix}")
                first += count
        return root

    return write
