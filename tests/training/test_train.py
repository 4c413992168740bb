"""A run records its training; an interrupted and resumed run equals an uninterrupted one."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support.studies import untimed_record
from support.training import (
    PLATEAU,
    WARMUP,
    PowerCutError,
    Tiny,
    TrainRun,
    assert_equal_states,
    final_state,
    interrupt,
    without_times,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torture import are_identical

from resnet_degradation.config.identity import run_folder
from resnet_degradation.console.progress import RunProgress
from resnet_degradation.data.batches import Batch
from resnet_degradation.data.in_memory import MemoryBatches
from resnet_degradation.probes.errors import top1_error
from resnet_degradation.records.checkpoint import load_checkpoint
from resnet_degradation.records.layers import read_layer_stats
from resnet_degradation.records.metrics import COLUMNS, read_metrics
from resnet_degradation.records.run_folder import checkpoint_files, read_classes, read_config
from resnet_degradation.records.summary import read_final_errors, read_summary
from resnet_degradation.system.errors import CheckpointError, ConfigError, DivergenceError
from resnet_degradation.training import session
from resnet_degradation.training.build import prepare
from resnet_degradation.training.meters import Meter
from resnet_degradation.training.recorder import SCALARS
from resnet_degradation.training.schedule import Schedule, make_plan


@pytest.mark.parametrize("cuts", [(1,), (5,), (11,), (7, 9)])
@pytest.mark.parametrize("recipe", [(), (*PLATEAU, *WARMUP)])
def test_resume_continues_bit_for_bit(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path, cuts: tuple[int, ...], recipe: tuple[str, ...]
) -> None:
    whole = train_run(tiny(*recipe, f"output_dir={tmp_path / 'whole'}"))
    config = tiny(*recipe, f"output_dir={tmp_path / 'cut'}")
    for cut in cuts:
        interrupt(config, cut)
    resumed = train_run(config)
    assert without_times(resumed) == without_times(whole)
    assert_equal_states(final_state(resumed), final_state(whole))
    assert read_final_errors(resumed) == read_final_errors(whole)


@pytest.mark.parametrize("evaluation", [1, 3, 4, 5])
def test_a_power_cut_during_an_evaluation_leaves_no_trace(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    evaluation: int,
) -> None:  # fmt: skip
    whole = train_run(tiny(*PLATEAU, f"output_dir={tmp_path / 'whole'}"))
    config = tiny(*PLATEAU, "runtime.eval_batch_size=100")
    held_out, times = MemoryBatches.held_out, 0

    def cut(self: MemoryBatches, split: str) -> Iterator[Batch]:
        nonlocal times
        times += 1
        for number, batch in enumerate(held_out(self, split)):
            if (times, number) == (evaluation, 2):
                raise PowerCutError
            yield batch

    monkeypatch.setattr(MemoryBatches, "held_out", cut)
    with pytest.raises(PowerCutError):
        train_run(config)
    monkeypatch.undo()
    assert without_times(train_run(config)) == without_times(whole)
    assert_equal_states(final_state(run_folder(config)), final_state(whole))


def test_resume_continues_bit_for_bit_on_streamed_images(
    tiny: Tiny, train_run: TrainRun, digits_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = digits_folder(size=24)
    overrides = (
        "data=imagenet", f"data.root={root}", "data.image_size=16", "depth=18",
        "recipe.batch_size=6", "recipe.iterations=6", "recipe.pad=0", "width=0.125",
        "runtime.checkpoint_every=2", "recipe.plateau_every=2", "runtime.num_workers=1",
    )  # fmt: skip
    whole = train_run(tiny(*overrides, f"output_dir={tmp_path / 'whole'}"))
    config = tiny(*overrides, f"output_dir={tmp_path / 'cut'}", "runtime.num_workers=0")
    interrupt(config, 5)
    assert without_times(train_run(config)) == without_times(whole)
    assert_equal_states(final_state(run_folder(config)), final_state(whole))


def test_how_often_a_run_is_looked_at_does_not_change_it(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path
) -> None:
    often = train_run(tiny("runtime.eval_every=1", "runtime.log_every=1", *WARMUP))
    seldom = train_run(tiny("runtime.eval_every=12", f"output_dir={tmp_path / 'seldom'}", *WARMUP))
    assert often.name == seldom.name
    assert_equal_states(final_state(often)["net"], final_state(seldom)["net"])
    assert read_final_errors(often) == read_final_errors(seldom)


def test_a_run_folder_holds_the_whole_record(tiny: Tiny, train_run: TrainRun) -> None:
    config = tiny()
    folder = train_run(config)
    assert folder == run_folder(config)
    assert read_config(folder) == config
    with (folder / "metrics.csv").open(newline="") as stream:
        lines = list(csv.reader(stream))
    assert lines[0] == COLUMNS == [
        "iteration", "epoch", "lr", "train_loss", "train_error", "val_error", "test_error",
        "images_per_second", "seconds",
    ]  # fmt: skip
    rows = read_metrics(folder)
    assert [row.iteration for row in rows] == [3, 4, 6, 8, 9, 12]
    assert [row.iteration for row in rows if row.val_error is not None] == [4, 8, 12]
    assert all(row.test_error is None for row in rows)
    assert [row.lr for row in rows] == pytest.approx([0.01] * 3 + [0.001] * 2 + [0.0001])
    assert rows[-1].epoch == pytest.approx(12 * 32 / 1437, abs=1e-4)
    summary = read_summary(folder)
    assert summary["final_errors_percent"] == read_final_errors(folder).as_dict()
    assert summary["num_parameters"] > 0
    assert summary["multiply_adds"] > 0
    assert summary["versions"]["torch"] == torch.__version__
    assert {"hardware", "git_revision", "seconds"} <= summary.keys()


def test_the_recorded_validation_error_is_that_of_the_saved_net(
    tiny: Tiny, train_run: TrainRun
) -> None:
    config = tiny()
    folder = train_run(config)
    run = prepare(config)
    assert run.start == 12
    assert top1_error(run.net, run.batches, "val") == pytest.approx(
        read_metrics(folder)[-1].val_error, abs=1e-4
    )


def test_evaluation_does_not_change_the_net(tiny: Tiny) -> None:
    run = prepare(tiny())
    run.net.train()
    before = {name: value.clone() for name, value in run.net.state_dict().items()}
    top1_error(run.net, run.batches, "val")
    assert run.net.training
    assert_equal_states(before, run.net.state_dict())


def test_tensorboard_shows_the_record_and_no_point_twice(tiny: Tiny, train_run: TrainRun) -> None:
    config = tiny()
    for cut in (7, 11):
        interrupt(config, cut)
    folder = train_run(config)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    for tag, column in SCALARS.items():
        recorded = [
            (row.iteration, value)
            for row in read_metrics(folder)
            if (value := getattr(row, column)) is not None
        ]
        if recorded:
            shown = [(event.step, event.value) for event in events.Scalars(tag)]
            assert [step for step, _ in shown] == [step for step, _ in recorded]
            assert [v for _, v in shown] == pytest.approx([v for _, v in recorded], rel=1e-5)
    tags = events.Tags()
    assert tags["images"] == ["training images"]
    assert events.Scalars("final/val_error")[0].value == pytest.approx(
        read_metrics(folder)[-1].val_error
    )
    assert "configuration/text_summary" in tags["tensors"]
    plugins = events.summary_metadata
    assert any(meta.plugin_data.plugin_name == "hparams" for meta in plugins.values())


def test_a_finished_run_is_not_changed(tiny: Tiny, train_run: TrainRun) -> None:
    folder = train_run(tiny())
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    console = Console(record=True, quiet=False, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    session.train(tiny(), RunProgress(console))
    assert "is already finished" in console.export_text()
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path
) -> None:
    whole = train_run(tiny(f"output_dir={tmp_path / 'whole'}"))
    config = tiny()
    interrupt(config, 11)
    newest, older = checkpoint_files(run_folder(config))
    newest.write_bytes(newest.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        resumed = session.train(config, RunProgress(Console(quiet=True)))
    assert older.name.startswith("iteration-000000005-")
    assert without_times(resumed) == without_times(whole)


def test_if_no_checkpoint_can_be_read_nothing_is_overwritten(tiny: Tiny) -> None:
    config = tiny()
    interrupt(config, 11)
    for file in checkpoint_files(run_folder(config)):
        file.write_bytes(b"")
    record = (run_folder(config) / "metrics.csv").read_bytes()
    with (
        pytest.warns(UserWarning, match="damaged checkpoint"),
        pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read"),
    ):
        session.train(config, RunProgress(Console(quiet=True)))
    assert (run_folder(config) / "metrics.csv").read_bytes() == record


def test_a_diverged_run_says_where_and_is_not_finished(tiny: Tiny, train_run: TrainRun) -> None:
    config = tiny("recipe.lr=1e30")
    with pytest.raises(
        DivergenceError, match=r"loss of iteration 2 is not finite, at learning .* 1e\+30"
    ):
        train_run(config)
    assert not (run_folder(config) / "summary.json").exists()


def test_training_learns(tiny: Tiny, train_run: TrainRun) -> None:
    rows = read_metrics(train_run(tiny("recipe.iterations=80", "width=1")))
    assert rows[-1].train_loss < 0.5 * rows[0].train_loss
    assert (rows[-1].val_error or 100) < 50


def test_the_rate_warms_up_until_the_net_has_started(tiny: Tiny, train_run: TrainRun) -> None:
    rows = read_metrics(train_run(tiny(*WARMUP, "recipe.warmup_lr=0.001")))
    assert [row.lr for row in rows[:3]] == pytest.approx([0.001, 0.001, 0.01])


def test_mixed_precision_trains_in_a_separate_folder(tiny: Tiny, train_run: TrainRun) -> None:
    config = tiny("runtime.precision=bf16")
    folder = train_run(config)
    assert folder.name != run_folder(tiny()).name
    assert 0 < read_metrics(folder)[-1].train_loss < 5


def test_each_reader_of_the_meter_sees_what_came_since_it_last_looked() -> None:
    meter = Meter(torch.device("cpu"), ("a", "b"))
    right, wrong = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    label = torch.tensor([0])
    meter.update(torch.tensor(1.0), right, label)
    assert meter.read("a").error == 0
    meter.update(torch.tensor(3.0), wrong, label)
    assert (meter.read("a").loss, meter.read("b").loss) == (3, 2)


def test_final_training_error_is_counted_over_the_last_epoch_or_tenth(
    tiny: Tiny, train_run: TrainRun
) -> None:
    # 45 iterations are an epoch, so the last tenth of 20 iterations is shorter: 2 iterations.
    config = tiny("recipe.iterations=20", "runtime.log_every=1", "runtime.eval_every=20")
    folder = train_run(config)
    last_two = [row.train_error for row in read_metrics(folder)[-2:]]
    final = read_final_errors(folder)
    assert final.num_counted_images == 2 * 32
    assert final.train_error == pytest.approx(sum(last_two) / 2, abs=1e-4)
    epochs = make_plan(tiny("recipe.iterations=64000", "recipe.batch_size=128"), 50_000, 10_000)
    assert epochs.final_window == 391  # the last epoch of the paper's schedule


@pytest.mark.parametrize("iterations", [300, 400, 2000, 64_000])
def test_an_evaluation_leaves_no_row_of_few_batches(tiny: Tiny, iterations: int) -> None:
    config = tiny(
        *(f"recipe.iterations={iterations}", "recipe.batch_size=128"),
        *("runtime.log_every=null", "runtime.eval_every=null"),
    )
    plan = make_plan(config, 50_000, 10_000)
    assert plan.eval_every % plan.log_every == 0
    assert 1000 <= plan.eval_every <= 1100 or iterations < 10_000


def test_final_held_out_errors_are_the_last_not_the_best(tiny: Tiny, train_run: TrainRun) -> None:
    folder = train_run(tiny("runtime.eval_every=1", "recipe.lr=1"))
    rows = read_metrics(folder)
    assert read_final_errors(folder).val_error == pytest.approx(rows[-1].val_error, abs=1e-4)
    assert min(row.val_error or 100 for row in rows) < (rows[-1].val_error or 0)


@pytest.mark.long
def test_a_compiled_net_trains_and_saves_the_same_names(tiny: Tiny, train_run: TrainRun) -> None:
    compiled = final_state(train_run(tiny("runtime.compile=net", "recipe.iterations=3")))["net"]
    plain = prepare(tiny()).net.state_dict()
    assert list(compiled) == list(plain)


def test_the_rate_falls_when_the_validation_error_does_not(tiny: Tiny, train_run: TrainRun) -> None:
    # No error falls by 100 points, so no evaluation after the first counts as progress.
    rows = read_metrics(
        train_run(
            tiny(
                "recipe.schedule=plateau", "recipe.plateau_every=4", "recipe.plateau_patience=1",
                "recipe.plateau_threshold=100", "data.validation_fraction=0.2",
            )
        )
    )  # fmt: skip
    assert [row.lr for row in rows if row.iteration in (4, 8, 12)] == pytest.approx(
        [0.01, 0.01, 0.001]
    )
    assert all((row.val_error is None) == (row.test_error is None) for row in rows)


def test_the_test_set_chooses_nothing_where_there_is_a_validation_set(
    tiny: Tiny, silent: RunProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed: list[float] = []
    monkeypatch.setattr(Schedule, "observe_held_out_error", lambda _self, e: observed.append(e))
    config = tiny(*PLATEAU, "data.validation_fraction=0.2")
    rows = read_metrics(session.train(config, silent))
    assert observed == pytest.approx([r.val_error for r in rows if r.iteration % 3 == 0], abs=1e-4)


def test_no_git_is_no_reason_to_fail(
    tiny: Tiny, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert read_summary(train_run(tiny()))["git_revision"] is None


def test_a_torn_last_row_is_cut_off_on_resume(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path
) -> None:
    whole = train_run(tiny(f"output_dir={tmp_path / 'whole'}"))
    config = tiny()
    interrupt(config, 9)
    record = run_folder(config) / "metrics.csv"
    record.write_bytes(record.read_bytes()[:-7])
    assert without_times(train_run(config)) == without_times(whole)


@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
def test_one_flipped_bit_in_a_checkpoint_is_noticed(
    tiny: Tiny, train_run: TrainRun, position: float
) -> None:
    folder = train_run(tiny())
    newest = checkpoint_files(folder)[0]
    content = bytearray(newest.read_bytes())
    content[int(position * len(content))] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        checkpoint = load_checkpoint(folder)
    assert checkpoint is not None
    assert checkpoint.iteration == 10


def test_more_images_a_batch_than_there_are_is_refused(tiny: Tiny, train_run: TrainRun) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.batch_size=2000 .* 1437 training images"):
        train_run(tiny("recipe.batch_size=2000"))


def test_summary_is_json_that_other_tools_can_read(tiny: Tiny, train_run: TrainRun) -> None:
    summary = json.loads((train_run(tiny()) / "summary.json").read_text())
    assert summary["net"] == "ResNet-8-width0.5"


def test_a_run_names_its_classes_and_the_images_it_skipped(
    tiny: Tiny, train_run: TrainRun, digits_folder: Callable[..., Path]
) -> None:
    root = digits_folder(num_train=12, size=8)
    (root / "train/digit0/003.png").write_bytes(b"no image")
    config = tiny(
        "data=folder", f"data.root={root}", "data.image_size=8", "recipe.iterations=4",
        "recipe.batch_size=8", "recipe.pad=1", "data.on_error=skip",
    )  # fmt: skip
    folder = train_run(config)
    assert read_classes(folder) == ["digit0", "digit1", "digit2"]
    assert read_summary(folder)["num_skipped_images"] == 1
    (row,) = csv.DictReader((folder / "skipped.csv").open())
    assert row["split"] == "train"
    assert row["image"].startswith(f"{root}/train/digit0/003.png (cannot identify image file")


def test_work_before_a_run_is_reported_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=80)
    progress = RunProgress(console)
    for done in range(0, 1001, 100):
        now[0] += 3
        progress.show_preparation("checking images", done, 1000)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines == ["checking images: 300/1,000", "checking images: 700/1,000"]


def test_recording_signals_changes_no_bit_of_a_run(
    tmp_path: Path, tiny: Tiny, train_run: TrainRun
) -> None:
    usual = train_run(tiny())
    recorded = train_run(tiny("runtime.signals_every=5", f"output_dir={tmp_path / 'other'}"))
    assert untimed_record(usual) == untimed_record(recorded)
    parts = [load_checkpoint(folder).parts for folder in (usual, recorded)]  # type: ignore[union-attr]
    assert all(
        are_identical(parts[0][name], parts[1][name]) for name in ("net", "optimizer", "meter")
    )
    signals = read_layer_stats(recorded)
    assert list(signals) == [0, 5, 10, 12]
    assert all(len(of_layers) == 8 for of_layers in signals.values())
    assert not (usual / "signals.csv").exists()
    scalars = EventAccumulator(str(recorded)).Reload()
    shown = [event.value for event in scalars.Scalars("gradient_norm/008_fc")]
    assert shown == pytest.approx([signals[at][-1].gradient_norm for at in signals], rel=1e-5)


def test_an_interrupted_run_has_the_same_signals(
    tmp_path: Path, tiny: Tiny, train_run: TrainRun
) -> None:
    whole = train_run(tiny("runtime.signals_every=4"))
    config = tiny("runtime.signals_every=4", f"output_dir={tmp_path / 'other'}")
    interrupt(config, after=9)  # the last checkpoint is that of iteration 5
    assert list(read_layer_stats(run_folder(config))) == [0, 4, 8]
    resumed = train_run(config)
    assert (resumed / "signals.csv").read_bytes() == (whole / "signals.csv").read_bytes()
