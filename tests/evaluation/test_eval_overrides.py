"""Settings given to `resnet-eval` in addition to a run have an effect, or raise an error."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import forked
from support.evaluation import evaluation_of
from support.training import Tiny

from resnet_degradation.config.schema import Config
from resnet_degradation.system.errors import ConfigError

TrainRun = Callable[[Config], Path]


@pytest.fixture
def run(tiny: Tiny, train_run: TrainRun) -> Path:
    """The folder of a run with some settings that differ from the defaults."""
    return train_run(
        tiny("data.image_size=24", "depth=14", "recipe.iterations=2", "recipe.milestones=[0.5]")
    )


def resnet_eval(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked(folder, "resnet-eval", "runtime.num_threads=1", *arguments)


# Parts of the message: about the setting, and about the run.
CONTRADICTIONS = {
    # These are the defaults.
    "data.image_size=16": ("data.image_size=16", "data.image_size=24: omit data.image_size"),
    "depth=20": ("depth=20", "depth=14: omit depth"),
    "recipe.milestones=[0.5,0.75]": ("recipe.milestones=[0.5, 0.75]", "recipe.milestones=[0.5]:"),
    "width=1": ("width=1.0", "width=0.5:"),
    "data=digits": ("data= sets data.image_size=16", "data.image_size=24: omit data,"),
    "recipe=quick": ("recipe= sets recipe.iterations=300", "recipe.iterations=2: omit recipe,"),
    # These are not.
    "residual=false": ("residual=false", "residual=true:"),
    "data=cifar10": ("data= sets data.name=cifar10", "data.name=digits:"),
    "shortcut=B": ("shortcut=B", "shortcut=A:"),
    "weights_digest=abc": ("weights_digest=abc", "weights_digest=null:"),
    "depth=21": ("depth=21", "depth=14:"),
}


@pytest.mark.parametrize("override", CONTRADICTIONS)
def test_what_contradicts_the_run_is_refused_naming_both(run: Path, override: str) -> None:
    given, own = CONTRADICTIONS[override]
    message = f"{given}, but run={run} was trained with {own}"
    with pytest.raises(ConfigError, match=re.escape(message)):
        evaluation_of(f"run={run}", override)


def test_a_default_that_contradicts_the_run_is_refused_in_one_line(
    tmp_path: Path, run: Path
) -> None:
    done = resnet_eval(tmp_path, f"run={run}", "data.image_size=16")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: data.image_size=16, but run={run} was trained with")
    assert not list(run.glob("evaluations/*"))


def test_what_the_run_has_may_be_given_however_it_is_written(tmp_path: Path, run: Path) -> None:
    same = ("data.image_size=24", "depth=14", "shortcut=null", "family=cifar", "seed=0")
    lengths = ("recipe.iterations='2'", "recipe.milestones=[0.5]", "recipe.warmup=auto")
    done = resnet_eval(tmp_path, f"run={run}", *same, *lengths, "data.download=true")
    assert done.returncode == 0, done.stderr
    assert (run / "evaluations/center.json").is_file()


@pytest.mark.parametrize("command", ["resnet-eval", "resnet-inspect"])
def test_a_precision_that_would_have_no_effect_is_refused(
    tmp_path: Path, run: Path, command: str
) -> None:
    done = forked(tmp_path, command, f"run={run}", "runtime.precision=bf16")
    assert done.returncode == 2
    assert done.stderr == f"error: {command} computes in fp32: omit runtime.precision\n"


@pytest.mark.long
def test_where_a_run_cannot_be_written_to_its_record_goes_to_another_folder(
    tmp_path: Path, run: Path
) -> None:
    (run / "evaluations").write_text("")  # a file: a folder without permissions would not stop root
    refused = resnet_eval(tmp_path, f"run={run}")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert f"cannot be written to {run}/evaluations (File exists)" in line
    assert line.endswith("choose another folder with output_dir=FOLDER")
    done = resnet_eval(tmp_path, f"run={run}", "output_dir=elsewhere")
    assert done.returncode == 0, done.stderr
    record = f"elsewhere/evaluations/{run.name}/center.json"
    assert done.stdout.splitlines()[-1] == f"record: {record}"
    assert (tmp_path / record).is_file()
