"""Unusual terminals, schedulers, clocks, limits and run folders, as reported for other tools.

The commands succeed, or fail with one line that says what to do.
"""

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import TINY, run_folders
from support.training import Tiny, TrainRun, everything_in, interrupt, without_times

from resnet_degradation.config.identity import run_folder
from resnet_degradation.distributed.rendezvous import _set_torch_variables
from resnet_degradation.figures.curves import load_curves
from resnet_degradation.records.checksummed import load_checksummed, save_checksummed
from resnet_degradation.records.metrics import read_metrics
from resnet_degradation.records.run_folder import (
    checkpoint_files,
    drop_duplicate_runs,
    find_runs,
    read_config,
)
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.errors import CheckpointError, UserError
from resnet_degradation.system.process import ProcessInfo
from resnet_degradation.training import describe

pytestmark = pytest.mark.long

resource = pytest.importorskip("resource", reason="limits are set as on POSIX systems")
BIN = Path(sys.executable).parent
TRAIN = str(BIN / "resnet-train")
PLOT = Path(__file__).parents[2] / "scripts" / "plot_curves.py"


def start(folder: Path, *command: str, **options: Any) -> "subprocess.Popen[str]":
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    options["env"] = os.environ | options.pop("env", {})
    return subprocess.Popen(command, cwd=folder, text=True, **options)


def said(process: "subprocess.Popen[str]", code: int = 0) -> tuple[str, str]:
    """The output and error output of a command; it must end with this code."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out, err


def error_of(process: "subprocess.Popen[str]", code: int = 2) -> str:
    """The only line that a command printed; it must fail with this code."""
    (line,) = said(process, code)[1].splitlines()
    assert line.startswith("error: ")
    return line


# Terminals


def test_a_run_outlives_its_terminal(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = start(tmp_path, TRAIN, *TINY, "recipe.iterations=300", stdout=theirs)
    os.close(theirs)
    printed = b""
    # The progress bar starts with this code; it would print the warning itself.
    while b"\x1b[?25l" not in printed:
        printed += os.read(ours, 1000)
    os.close(ours)
    _, err = said(process)
    assert err == (
        "warning: standard output cannot be written (Input/output error): the rest is not printed\n"
    )
    assert all(map(is_finished, run_folders(tmp_path)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_run_outlives_a_full_disk_for_what_it_prints(tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        _, err = said(start(tmp_path, TRAIN, *TINY, stdout=full))
    assert err == (
        "warning: standard output cannot be written (No space left on device): the rest is not "
        "printed\n"
    )
    assert all(map(is_finished, run_folders(tmp_path)))


def test_a_terminal_of_no_columns_hides_nothing(tmp_path: Path) -> None:
    out, _ = said(start(tmp_path, TRAIN, *TINY, env={"COLUMNS": "0"}))
    assert "final training error" in out


# Schedulers


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("cpu1,gpu7", "cpu1"),
        ("gpu[03-05,9]", "gpu03"),
        ("gpu[9,11]-ib,cpu1", "gpu9-ib"),
        ("cpu1,gpu[03-05]", "cpu1"),
        ("a-1.lab.org,b", "a-1.lab.org"),
    ],
)
def test_the_first_machine_of_a_slurm_step(
    nodes: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {"SLURM_STEP_NODELIST": nodes})
    _set_torch_variables(ProcessInfo(3, 4, 1, 2))
    assert os.environ["MASTER_ADDR"] == first
    assert (os.environ["RANK"], os.environ["LOCAL_RANK"]) == ("3", "1")


def slurm_task(rank: int, job: int) -> dict[str, str]:
    """The environment variables that srun sets for one of two processes."""
    return {
        "SLURM_JOB_ID": str(job),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
    }


def test_processes_of_srun_find_each_other_in_a_container_without_srun(tmp_path: Path) -> None:
    job = os.getpid()
    tasks = [start(tmp_path, TRAIN, *TINY, env=slurm_task(rank, job)) for rank in (0, 1)]
    out, _ = said(tasks[0])
    said(tasks[1])
    assert "2 processes, each on cpu" in out
    assert all(map(is_finished, run_folders(tmp_path)))


def test_one_process_of_a_step_of_two_says_how_to_train_alone(tmp_path: Path) -> None:
    """The command runs in a shell that was started by srun -n 2 --pty."""
    alone = slurm_task(0, os.getpid() + 1)
    line = error_of(start(tmp_path, TRAIN, *TINY, "runtime.timeout=1", env=alone), code=4)
    assert "To train in a single process, unset WORLD_SIZE or SLURM_STEP_NUM_TASKS" in line


# Limits, Python's modes, folders


def test_too_little_memory_to_load_torch_is_one_line(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (10**9, resource.RLIM_INFINITY))

    line = error_of(start(tmp_path, TRAIN, *TINY, preexec_fn=limit))
    assert "the memory limit of this process is too low (ulimit -v)" in line


def test_what_hydra_cannot_read_without_assertions_is_one_line(tmp_path: Path) -> None:
    optimized = {"PYTHONOPTIMIZE": "1"}
    line = error_of(start(tmp_path, TRAIN, "-m", *TINY, "seed=range(0,2)", env=optimized))
    assert "unset PYTHONOPTIMIZE" in line


def test_files_in_the_current_folder_do_not_replace_modules_of_python(tmp_path: Path) -> None:
    for name in ("inspect", "random", "config"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not for Python')")
    for name in ("train", "study"):
        command = [sys.executable, "-m", f"resnet_degradation.{name}", "--version"]
        assert said(start(tmp_path, *command))[0].startswith("resnet-degradation ")


def test_a_current_folder_that_was_deleted_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    assert "the current folder was deleted" in error_of(
        start(gone, "sh", "-c", f"rmdir {gone}; exec {TRAIN}")
    )


@pytest.mark.slow
def test_a_compiler_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    none = {"PATH": str(tmp_path), "CXX": "", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    line = error_of(start(tmp_path, TRAIN, *TINY, "runtime.compile=net", env=none))
    assert "torch.compile failed (" in line
    assert "to train without it, set runtime.compile=none" in line


def test_a_clock_that_stands_still_between_two_rows(
    tiny: Tiny, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert all(row.images_per_second > 0 for row in read_metrics(train_run(tiny())))


# The revision in the record


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Call git in a repository that seems to contain this package."""
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    here = tmp_path / "checkout"
    here.mkdir()
    monkeypatch.setattr(describe, "__file__", str(here / "src" / "package" / "train" / "file.py"))

    def git(*arguments: str | bytes) -> str:
        command = ["git", "-c", "user.name=x", "-c", "user.email=x", "-C", str(here), *arguments]
        done = subprocess.run(command, capture_output=True, check=True)
        return done.stdout.decode(errors="replace").strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "one")
    return git


def revision() -> str | None:
    return describe._git_revision()


def test_the_revision_is_not_that_of_another_repository(
    checkout: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git hook sets GIT_DIR, and so do some users for their configuration files."""
    right = checkout("rev-parse", "--short=12", "HEAD")
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", "--bare", str(other)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other))
    assert revision() == right


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_the_revision_of_a_checkout_of_another_user(
    checkout: Callable[..., str], tmp_path: Path
) -> None:
    """This happens in a container, with a folder of its host."""
    right = checkout("rev-parse", "--short=12", "HEAD")
    for path in (tmp_path / "checkout", tmp_path / "checkout" / ".git"):
        os.chown(path, 12345, 12345)
    assert revision() == right


def test_a_revision_that_is_not_utf8(checkout: Callable[..., str]) -> None:
    checkout("tag", "-a", "-m", "x", b"r\xfcckblick")
    assert revision() == "r\ufffdckblick"


# Two versions


def rewrite(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the content of a checkpoint to that of another version."""
    content = load_checksummed(file)
    change(content)
    file.unlink()
    save_checksummed(file.parent, file.stem.rpartition("-")[0], content)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(version="9.0"),
        lambda content: content.pop("begun"),
        lambda content: content["parts"].update(averages={}),
        lambda content: content["parts"].pop("clock"),
        lambda content: content["parts"]["schedule"].update(cycle=1),
        lambda content: content["rows"][0].append("1"),
    ],
)
def test_checkpoints_of_another_version_are_neither_damaged_nor_half_used(
    tiny: Tiny, train_run: TrainRun, change: Callable[[dict[str, Any]], Any],
    recwarn: pytest.WarningsRecorder,
) -> None:  # fmt: skip
    config = tiny()
    interrupt(config, 11)
    folder = run_folder(config)
    for file in checkpoint_files(folder):
        rewrite(file, change)
    before = everything_in(folder)
    with pytest.raises(CheckpointError, match="another version of resnet-degradation") as error:
        train_run(config)
    assert f"or move {folder} away to start over" in str(error.value)
    assert everything_in(folder) == before
    assert not recwarn.list


def test_a_setting_of_another_version_is_named(tiny: Tiny, train_run: TrainRun) -> None:
    folder = train_run(tiny())
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("recipe:", "recipe:\n  label_smoothing: 0.1"))
    with pytest.raises(UserError, match=r"has the setting recipe\.label_smoothing") as error:
        read_config(folder)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("use the version that made the run")
    config.unlink()
    with pytest.raises(UserError, match=r"not a run folder: it has no config\.yaml"):
        read_config(folder)


# Run folders that were edited, copied, linked to


def test_a_record_that_a_spreadsheet_saved_is_read(tiny: Tiny, train_run: TrainRun) -> None:
    folder = train_run(tiny())
    rows, file = read_metrics(folder), folder / "metrics.csv"
    text = file.read_text()
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n")
    assert read_metrics(folder) == rows


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_record_that_a_spreadsheet_spoiled_can_be_restored(
    tiny: Tiny, train_run: TrainRun, delimiter: str
) -> None:
    folder = train_run(tiny())
    rows, file = without_times(folder), folder / "metrics.csv"
    with file.open(newline="") as stream:
        cells = list(csv.reader(stream))
    with file.open("w", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(cells)
    with pytest.raises(UserError, match=r"the run's command restores it .*delete summary\.json"):
        read_metrics(folder)
    (folder / "summary.json").unlink()
    train_run(tiny())
    assert without_times(folder) == rows


def test_a_copy_of_a_run_is_not_another_seed(tiny: Tiny, train_run: TrainRun) -> None:
    config, other = tiny(), tiny("seed=1")
    interrupt(config, 11)
    folder, second = run_folder(config), train_run(other)
    backup = shutil.copytree(folder, folder.with_name("backup"))
    with pytest.warns(UserWarning, match=f"{backup} is left out: {folder} holds the same run"):
        assert drop_duplicate_runs(find_runs(folder.parent)) == [folder, second]
    train_run(config)
    with pytest.warns(UserWarning, match=f"{backup} is left out"):
        (net,) = load_curves(drop_duplicate_runs([backup, folder, second]))
    assert net.num_seeds == 2
    _, err = said(start(folder.parent, sys.executable, str(PLOT), ".", "--formats", "svg"))
    assert err.startswith("warning: backup is left out: ")


def test_links_to_runs_are_followed(tiny: Tiny, train_run: TrainRun, tmp_path: Path) -> None:
    folder, chosen = train_run(tiny()), tmp_path / "chosen"
    chosen.mkdir()
    (chosen / "best").symlink_to(folder)
    (chosen / "round").symlink_to(chosen)
    assert find_runs(chosen) == [chosen / "best"]
