"""Random arguments and damaged files are accepted, or give one line of error."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.training import Tiny, TrainRun, interrupt

from resnet_degradation.config.schema import Config, schema_fields
from resnet_degradation.data.sources.digits import load_digits
from resnet_degradation.data.sources.folder import scan_folder
from resnet_degradation.data.views import read_image
from resnet_degradation.records.csv_tables import format_row, parse_row
from resnet_degradation.records.metrics import (
    COLUMNS,
    Row,
    read_metrics,
    read_valid_rows,
    write_metrics,
)
from resnet_degradation.system.errors import ConfigError, DataError, UserError

ON_TEMPORARY_FILES = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Metrics


@pytest.fixture
def record(tiny: Tiny, train_run: TrainRun) -> Path:
    """The metrics.csv of a finished run."""
    return train_run(tiny()) / "metrics.csv"


@ON_TEMPORARY_FILES
@given(cut=st.integers(0, 10**6))
def test_a_record_cut_anywhere_keeps_its_whole_rows(record: Path, cut: int) -> None:
    whole = record.read_bytes()
    rows = read_metrics(record.parent)
    try:
        record.write_bytes(whole[: cut % len(whole)])
        kept = read_valid_rows(record.parent)
        assert kept == rows[: len(kept)]
        assert len(kept) == max(0, record.read_bytes().count(b"\n") - 1)
    finally:
        record.write_bytes(whole)


@ON_TEMPORARY_FILES
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 10**6), st.binary(max_size=4), st.integers(0, 5)), min_size=1
    )
)
def test_a_record_changed_anywhere_is_read_or_refused_in_one_line(
    record: Path, changes: list[tuple[int, bytes, int]]
) -> None:
    whole = content = record.read_bytes()
    for position, inserted, removed in changes:
        at = position % len(content) if content else 0
        content = content[:at] + inserted + content[at + removed :]
    try:
        record.write_bytes(content)
        rows = read_valid_rows(record.parent)
        iterations = [row.iteration for row in rows]
        assert iterations == sorted(set(iterations))
        try:
            assert read_metrics(record.parent) == rows
        except UserError as error:
            assert "\n" not in str(error)
            assert "metrics.csv, line" in str(error)
    finally:
        record.write_bytes(whole)


errors = st.none() | st.floats(0, 100)
finite = st.floats(0, 1e9)


@given(st.lists(st.tuples(finite, finite, finite, finite, errors, errors, finite, finite)))
def test_rows_come_back_as_they_were_recorded(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[tuple[float | None, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    cells = [
        [str(i), *("" if n is None else f"{n:.6f}" for n in row)] for i, row in enumerate(numbers)
    ]
    rows = [parse_row(dict(zip(COLUMNS, row, strict=True)), Row) for row in cells]
    write_metrics(folder, rows)
    again = read_metrics(folder)
    assert [format_row(row) for row in again] == [format_row(row) for row in rows]


# Configurations, from random arguments


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    key=st.sampled_from(list(schema_fields(Config))),
    value=st.text(max_size=12) | st.floats().map(str) | st.integers().map(str),
)
@example("width", "1e308")
@example("recipe.scale", "[1e9,1e10]")
@example("recipe.milestones", "[0.5,0.5]")
def test_any_value_of_any_key_is_resolved_or_refused_in_one_line(key: str, value: str) -> None:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from resnet_degradation.cli.compose import compose_config
    from resnet_degradation.cli.messages import explain

    try:
        compose_config(f"{key}={value}")
    except (ConfigError, HydraException, OmegaConfBaseException, ValueError) as error:
        assert explain(error, Config)


# Folders of images


def test_links_that_make_loops_are_gone_through_once(
    digits_folder: Callable[..., Path],
) -> None:
    root = digits_folder()
    before = len(scan_folder(root).train)
    for name in ("a", "b", "c"):
        (root / "train/digit0" / name).symlink_to(root / "train/digit0")
    assert len(scan_folder(root).train) == before


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_named_like_an_image_is_refused(
    digits_folder: Callable[..., Path], linked: bool
) -> None:
    root = digits_folder()
    pipe = root / ("pipe" if linked else "train/digit0/pipe.png")
    os.mkfifo(pipe)
    if linked:
        (root / "train/digit0/pipe.png").symlink_to(pipe)
    with pytest.raises(DataError, match=r"pipe\.png is named like an image but is not a file"):
        scan_folder(root)


def test_a_link_to_nothing_is_named(
    tiny: Tiny, train_run: TrainRun, digits_folder: Callable[..., Path]
) -> None:
    root = digits_folder()
    (root / "train/digit0/000.png").unlink()
    (root / "train/digit0/000.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"cannot read the image .*/digit0/000\.png"):
        train_run(tiny("data=folder", f"data.root={root}", "recipe.batch_size=6"))


def test_names_that_are_no_text_are_no_trouble(
    tiny: Tiny, train_run: TrainRun, digits_folder: Callable[..., Path]
) -> None:
    root = digits_folder()
    for split in ("train", "val"):
        image = next((root / split / "digit1").iterdir())
        image.rename(os.fsdecode(os.fsencode(image.parent) + b"/\xff\nodd\x01.png"))
    config = tiny("data=folder", f"data.root={root}", "recipe.batch_size=6")
    interrupt(config, 6)
    train_run(config)
    odd = next((root / "train/digit1").glob("*odd*"))
    odd.write_bytes(b"")
    with pytest.raises(DataError) as error:
        train_run(tiny("data=folder", f"data.root={root}", "recipe.batch_size=6", "seed=1"))
    str(error.value).encode("utf-8", "backslashreplace")  # it can be printed


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM"])
@pytest.mark.filterwarnings("ignore")
def test_an_image_damaged_anywhere_is_read_or_named(tmp_path: Path, kind: str) -> None:
    pixels: torch.Tensor = load_digits(24).train.images[0]  # type: ignore[union-attr]
    file = tmp_path / f"image.{kind.lower()}"
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, kind)
    whole, rng = file.read_bytes(), random.Random(kind)
    named = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        file.write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
        try:
            assert read_image(str(file)).mode == "RGB"
        except DataError as error:
            named += 1
            assert str(file) in str(error)
            assert "\n" not in str(error)
    assert named > 0
