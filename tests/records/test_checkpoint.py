"""Training continues only from an undamaged checkpoint of the same run."""

import hashlib
import io
import json
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.training import (
    Tiny,
    TrainRun,
    assert_equal_states,
    everything_in,
    final_state,
    interrupt,
    without_times,
)

from resnet_degradation.config.identity import run_folder
from resnet_degradation.data.channel_statistics import channel_statistics
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.records.checkpoint import (
    NUM_KEPT,
    describe_first_difference,
    load_checkpoint,
    load_kept_checkpoints,
)
from resnet_degradation.records.checksummed import DamagedError, load_checksummed, save_checksummed
from resnet_degradation.records.run_folder import (
    checkpoint_files,
    checkpoint_iteration,
    last_checkpoint_iteration,
)
from resnet_degradation.records.summary import read_final_errors
from resnet_degradation.system.errors import CheckpointError, DivergenceError, UserError
from resnet_degradation.training.build import prepare

SOURCES = Path(__file__).parents[2] / "src"


class Malicious:
    """Runs code when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return Path.write_text, (self.victim, "executed")


def with_its_checksum(file: Path, content: bytes) -> Path:
    """Replace a file by `content`, and the checksum in the file's name."""
    stem = file.stem.rpartition("-")[0]
    renamed = file.with_name(f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}.pt")
    file.unlink()
    renamed.write_bytes(content)
    return renamed


def test_tensors_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    value = {"a": torch.randn(3, 4), "b": [1, 2.5, None, "text"]}
    file = save_checksummed(tmp_path, "name", value)
    assert_equal_states(load_checksummed(file), value)
    assert list(tmp_path.iterdir()) == [file]
    torch.load(file, weights_only=True)  # other tools read it too


@given(st.data())
def test_any_changed_byte_of_a_checksummed_file_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file = save_checksummed(tmp_path_factory.mktemp("checksummed"), "name", torch.arange(10))
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    with pytest.raises(DamagedError, match="checksum"):
        load_checksummed(file)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_code_in_a_checkpoint_is_not_executed(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path, how: str
) -> None:
    config, victim = tiny(), tmp_path / "victim"
    interrupt(config, 11)
    buffer = io.BytesIO()
    trap = {"iteration": 10, "belongs_to": {}, "parts": Malicious(victim), "rows": [], "begun": {}}
    pickle.dump(trap, buffer) if how == "pickle" else torch.save(trap, buffer)
    with_its_checksum(checkpoint_files(run_folder(config))[0], buffer.getvalue())
    with pytest.warns(UserWarning, match="more than tensors and numbers; resuming"):
        train_run(config)
    assert not victim.exists()
    # Loading the file in the unsafe way does run its code.
    buffer.seek(0)
    pickle.load(buffer) if how == "pickle" else torch.load(buffer, weights_only=False)
    assert victim.read_text() == "executed"


def test_nothing_is_ever_loaded_with_its_code() -> None:
    code = "\n".join(file.read_text() for file in SOURCES.rglob("*.py"))
    loads = re.findall(r"torch\.load\((?:[^()]|\([^()]*\))*\)", code)
    assert loads
    assert all("weights_only=True" in load for load in loads)
    assert not re.search(r"pickle\.load|allow_pickle=True|yaml\.load\(|[^.\w]eval\(", code)


def test_a_complete_file_that_is_no_checkpoint_is_skipped(tiny: Tiny) -> None:
    config = tiny()
    interrupt(config, 11)
    newest = checkpoint_files(run_folder(config))[0]
    for content, said in (
        (["no", "checkpoint"], "not a checkpoint"),
        ({"net": 1}, "not a checkpoint"),
    ):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        newest = with_its_checksum(newest, buffer.getvalue())
        with pytest.warns(UserWarning, match=said):
            checkpoint = load_checkpoint(run_folder(config))
        assert checkpoint is not None
        assert checkpoint.iteration == 5


def test_a_checkpoint_renamed_to_another_iteration_is_skipped(tiny: Tiny) -> None:
    config = tiny()
    interrupt(config, 11)
    newest, older = checkpoint_files(run_folder(config))
    newest.rename(newest.with_name(newest.name.replace("000000010", "000000011")))
    with pytest.warns(UserWarning, match="it contains iteration 10"):
        checkpoint = load_checkpoint(run_folder(config))
    assert checkpoint is not None
    assert checkpoint.iteration == 5
    assert older.exists()


def test_a_checkpoint_of_another_run_is_refused_with_the_first_difference(
    tiny: Tiny, train_run: TrainRun
) -> None:
    config, other = tiny(), tiny("depth=14", "seed=1")
    interrupt(config, 11)
    interrupt(other, 11)
    for file in checkpoint_files(run_folder(other)):
        file.unlink()
    for file in checkpoint_files(run_folder(config)):
        (run_folder(other) / "checkpoints" / file.name).write_bytes(file.read_bytes())
    before = everything_in(run_folder(other))
    with pytest.raises(
        CheckpointError, match="belong to another run: depth was 8 and is now 14"
    ) as e:
        train_run(other)
    assert "\n" not in str(e.value)
    assert everything_in(run_folder(other)) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("removed", "the number of training images was 24 and is now 23"),
        ("renamed", "the digest of the training images' names was"),
    ],
)
@pytest.mark.parametrize("data", ["folder", "imagenet"])
def test_a_run_is_not_resumed_on_other_images(
    tiny: Tiny, train_run: TrainRun, digits_folder: Callable[..., Path], change: str, said: str,
    data: str,
) -> None:  # fmt: skip
    root = digits_folder(size=24)
    own = ("depth=18", "width=0.125", "data.image_size=16", "recipe.pad=0")
    config = tiny(
        *(f"data={data}", f"data.root={root}", "recipe.batch_size=6", "runtime.num_workers=0"),
        *(own if data == "imagenet" else ()),
    )
    interrupt(config, 11)
    image = root / "train/digit1/000.png"
    image.unlink() if change == "removed" else image.rename(image.with_name("zzz.png"))
    before = everything_in(run_folder(config))
    with pytest.raises(CheckpointError, match=said):
        train_run(config)
    assert everything_in(run_folder(config)) == before


def test_the_first_difference_is_described_in_words() -> None:
    assert describe_first_difference({"a": 1}, {"a": 1}) is None
    assert describe_first_difference({"a": 1, "b": 2}, {"a": 1}) == "b was 2 and is now its default"
    assert describe_first_difference({}, {"c": None}) == "c was its default and is now None"


def test_a_damaged_checkpoint_makes_room_for_the_next_good_one(
    tiny: Tiny, train_run: TrainRun
) -> None:
    config = tiny()
    interrupt(config, 11)
    newest = checkpoint_files(run_folder(config))[0]
    newest.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        interrupt(config, 11)
    assert not newest.exists()
    assert [
        load_checksummed(file)["iteration"] for file in checkpoint_files(run_folder(config))
    ] == [
        10,
        5,
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_run(config)
    assert len(checkpoint_files(run_folder(config))) == NUM_KEPT


def test_checkpoints_are_kept_along_a_run_and_change_no_bit_of_it(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path
) -> None:
    usual = train_run(tiny())
    config = tiny("runtime.keep_every=3", f"output_dir={tmp_path / 'kept'}")
    interrupt(config, 11)
    kept = train_run(config)
    # The last two checkpoints are kept: 10 is the older one, and 5 was deleted.
    assert [checkpoint_iteration(file) for file in checkpoint_files(kept)] == [12, 10, 9, 6, 3]
    assert kept.name == usual.name
    assert_equal_states(final_state(kept), final_state(usual))
    assert without_times(kept) == without_times(usual)
    assert [checkpoint.iteration for checkpoint in load_kept_checkpoints(kept, 3)] == [3, 6, 9, 12]
    next(file for file in checkpoint_files(kept) if checkpoint_iteration(file) == 6).write_bytes(
        b""
    )
    with pytest.warns(UserWarning, match="is damaged and was skipped"):
        assert [checkpoint.iteration for checkpoint in load_kept_checkpoints(kept, 3)] == [3, 9, 12]


@pytest.mark.parametrize("damage", ["deleted", "cut", "a row damaged", "emptied", "another's"])
def test_the_record_is_restored_from_the_checkpoint(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path, damage: str
) -> None:
    whole = train_run(tiny(f"output_dir={tmp_path / 'whole'}"))
    config = tiny()
    interrupt(config, 11)
    record = run_folder(config) / "metrics.csv"
    content = record.read_bytes()
    if damage == "deleted":
        record.unlink()
    elif damage == "cut":
        record.write_bytes(content[:-9])
    elif damage == "a row damaged":
        record.write_bytes(content.replace(b"\n3,", b"\n\xff\x00,"))
    else:
        record.write_bytes(b"" if damage == "emptied" else b"a,b\n1,2\n")
    assert without_times(train_run(config)) == without_times(whole)


def test_the_times_of_a_resumed_run_continue(tiny: Tiny, train_run: TrainRun) -> None:
    config = tiny()
    interrupt(config, 11)
    checkpoint = load_checkpoint(run_folder(config))
    assert checkpoint is not None
    rows = train_run(config) / "metrics.csv"
    seconds = [float(line.split(",")[-1]) for line in rows.read_text().splitlines()[1:]]
    speeds = [float(line.split(",")[-2]) for line in rows.read_text().splitlines()[1:]]
    assert seconds == sorted(seconds)
    assert seconds[-1] >= checkpoint.parts["clock"]["seconds"]
    assert min(speeds) > 0


def test_a_run_resumed_on_another_machine_warns_that_rounding_may_differ(
    tiny: Tiny, train_run: TrainRun
) -> None:
    config = tiny()
    interrupt(config, 11)
    torch.set_num_threads(2)
    try:
        with pytest.warns(UserWarning, match="slightly: the number of threads was 1 and is now 2"):
            train_run(config)
    finally:
        torch.set_num_threads(1)


def test_a_run_resumed_with_another_compilation_warns(tiny: Tiny) -> None:
    interrupt(tiny(), 11)
    with pytest.warns(UserWarning, match=r"slightly: runtime\.compile was none and is now net"):
        prepare(tiny("runtime.compile=net"))


def test_weights_that_are_not_finite_are_never_saved(tiny: Tiny, train_run: TrainRun) -> None:
    """A checkpoint is due before the next row would show the loss."""
    config = tiny("recipe.lr=1e45", "runtime.checkpoint_every=1")
    with pytest.raises(DivergenceError, match=r"no longer finite after .* It has no checkpoint"):
        train_run(config)
    assert last_checkpoint_iteration(run_folder(config)) == 0


def test_a_run_that_diverges_late_names_its_last_good_checkpoint(
    tiny: Tiny, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("runtime.log_every=12", "runtime.eval_every=12")
    run = prepare(config)
    rate = type(run.schedule).lr
    monkeypatch.setattr(type(run.schedule), "lr", lambda self, i: 1e30 if i == 7 else rate(self, i))
    with pytest.raises(DivergenceError, match=r"iteration 9 is not finite|finite after") as error:
        train_run(config)
    (good,) = checkpoint_files(run_folder(config))
    assert good.name.startswith("iteration-000000005-")
    assert f"Its last good checkpoint is {good.name}" in str(error.value)
    monkeypatch.undo()
    assert read_final_errors(train_run(config)).train_error < 100


def test_a_damaged_summary_is_named_and_is_restored_by_repeating_the_run(
    tiny: Tiny, train_run: TrainRun
) -> None:
    folder = train_run(tiny())
    final, state = read_final_errors(folder), final_state(folder)
    summary = folder / "summary.json"
    for content in ("", "[", "{}", json.dumps({"final_errors_percent": 3})):
        summary.write_text(content)
        with pytest.raises(UserError, match=r"summary\.json is damaged: delete it and repeat"):
            read_final_errors(folder)
    summary.unlink()
    train_run(tiny())
    assert read_final_errors(folder) == final
    assert_equal_states(final_state(folder), state)


def test_damaged_colour_statistics_are_computed_anew(
    tiny: Tiny, digits_folder: Callable[..., Path], tmp_path: Path
) -> None:
    config = tiny("data=folder", f"data.root={digits_folder(size=24)}", "recipe.batch_size=6")
    files: Any = load_source(config.data).train
    cache = tmp_path / "cache"
    first = channel_statistics(files, 16, 18, 0, cache)
    (kept,) = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    again = channel_statistics(files, 16, 18, 0, cache)
    assert all(map(torch.equal, first, again))
    assert [file.name for file in cache.iterdir()] == [kept.name]
