"""Run folders written by version 0.1.0 can be found, resumed, evaluated, inspected and drawn."""

import json
import shutil
from pathlib import Path

import pytest
from support.commands import forked
from support.studies import composed_study, rounds_like, untimed_record

from resnet_degradation.cli import compose as cli
from resnet_degradation.config.identity import run_folder
from resnet_degradation.records.summary import is_finished, read_summary

MADE = Path(__file__).parents[1] / "support" / "data" / "runs-0.1.0"
NAMES: dict[str, list[tuple[list[str], str]]] = json.loads((MADE / "names.json").read_text())
NET = "digits/ResNet-8-width0.25-seed0-2c343493"
# The start of a description of a tensor in a safetensors file; only the content matters.
WEIGHTS = b'8\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  \0\0\0\0'
RECIPE = (
    "width=0.25", "data.image_size=8", "recipe.iterations=24", "recipe.batch_size=32",
    "recipe.pad=1",
)  # fmt: skip
RUNTIME = (
    "runtime.log_every=3", "runtime.eval_every=4", "runtime.checkpoint_every=5",
    "runtime.num_threads=1", "runtime.compile=none",
)  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A copy of the folders, which a test may change."""
    return shutil.copytree(MADE, tmp_path / "made")


def run(name: str, *arguments: object, cwd: Path) -> str:
    done = forked(cwd, name, *map(str, arguments))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def settings_of(overrides: list[str], tmp_path: Path) -> list[str]:
    """The settings; if they name a file of weights, it is written."""
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(WEIGHTS)
    return [override.replace("WEIGHTS", str(weights)) for override in overrides]


@pytest.mark.parametrize(("overrides", "name"), NAMES["runs"], ids=str)
def test_settings_name_the_run_folder_that_they_named_before(
    overrides: list[str], name: str, tmp_path: Path
) -> None:
    config = cli.compose_config(*settings_of(overrides, tmp_path))
    assert str(run_folder(config)) == f"outputs/{name}"


@pytest.mark.parametrize(("overrides", "name"), NAMES["studies"], ids=str)
def test_settings_name_the_study_folder_that_they_named_before(
    overrides: list[str], name: str
) -> None:
    assert str(composed_study(*overrides).folder) == f"outputs/{name}"


def same_machine(made: Path) -> bool:
    """Whether this machine rounds in the same way as the one that made the runs."""
    there = read_summary(made / "finished" / NET)
    return rounds_like(there["versions"]["torch"], there["hardware"]["cpu"])


def test_an_interrupted_run_resumes_exactly(made: Path) -> None:
    folder = made / "interrupted" / NET
    before = untimed_record(folder)
    said = run("resnet-train", "depth=8", *RECIPE, *RUNTIME, "output_dir=interrupted", cwd=made)
    assert "resumed after 10 iterations" in said
    assert is_finished(folder)
    rows, whole = untimed_record(folder), untimed_record(made / "finished" / NET)
    assert rows[: len(before)] == before or not same_machine(made)
    assert [row[:3] for row in rows] == [row[:3] for row in whole]  # iteration, epoch, lr
    if same_machine(made):
        assert rows == whole
    else:
        losses = [float(row[3]) for row in whole]
        assert [float(row[3]) for row in rows] == pytest.approx(losses, rel=0.01)
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1


def test_a_finished_run_is_not_changed(made: Path) -> None:
    before = {file: file.read_bytes() for file in made.rglob("*") if file.is_file()}
    command = ["resnet-train", "depth=8", *RECIPE, "output_dir=finished"]
    assert "is already finished" in run(*command, cwd=made)
    assert all(file.read_bytes() == content for file, content in before.items())


def test_runs_are_evaluated_and_inspected(made: Path) -> None:
    folder = made / "finished" / NET
    run("resnet-eval", f"run={folder}", "runtime.num_threads=1", cwd=made)
    (measured,) = (folder / "evaluations").glob("*.json")
    error = json.loads(measured.read_text())["splits"]["val"]["top1_error"]
    recorded = float(untimed_record(folder)[-1][5])
    assert error == pytest.approx(recorded, abs=100 / 360)  # one image, because of rounding
    inspect = ["resnet-inspect", f"run={folder}", "runtime.num_threads=1"]
    run(*inspect, "what=[responses,signals,residuals]", cwd=made)
    assert (folder / "inspection" / "signals.csv").is_file()


def test_runs_are_drawn_and_make_a_study(made: Path) -> None:
    run("resnet-plot", "finished", "--formats", "png", cwd=made)
    run("resnet-plot", "interrupted", "--formats", "png", cwd=made)
    assert (made / "finished" / "curves.png").is_file()
    nets = "study.nets=[{depth: 8, residual: false}, {depth: 8, residual: true}]"
    study = ["resnet-study", "study=quick", nets, *RECIPE, "output_dir=finished"]
    figures = "study.figures=[curves,depths,responses]"
    said = run(*study, figures, "runtime.num_threads=1", cwd=made)
    assert "2 of 2 runs are finished" in said
    (report,) = (made / "finished" / "studies").rglob("report.md")
    assert "plain-8" in report.read_text(encoding="utf-8")
