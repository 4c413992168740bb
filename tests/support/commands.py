"""Runs the commands in processes, as a user does."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from support.waiting import wait_until

BIN = Path(sys.executable).parent
TINY = (
    "depth=8",
    "width=0.5",
    "data.image_size=8",
    "recipe.iterations=4",
    "recipe.batch_size=16",
    "recipe.pad=1",
    "runtime.num_threads=1",
)


def call(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1", **environment},
    )


# What every command imports; the commands themselves are small.
HEAVY = [
    *("torch", "torch.utils.tensorboard", "sklearn.datasets", "matplotlib.backends.backend_agg"),
    *("scipy.stats", "jinja2", "resnet_degradation.cli.commands"),
    "resnet_degradation.training.launch",
]


def forked(
    folder: Path, name: str, *arguments: str, prepare: Callable[[], None] | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """The same as `call`, in a new process that is forked from one with torch.

    Importing torch is most of what a short command costs. Not for tests of how a command starts, of
    variables that Python or torch read when they start, or of commands that start processes.
    prepare: a function of a module, called in the process before the command.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        assert prepare is None
        return call(folder, str(BIN / name), *arguments, **env)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(HEAVY)
    environment = {**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1", **env}
    with tempfile.TemporaryDirectory() as folder_of_output:
        files = [Path(folder_of_output) / stream for stream in ("stdout", "stderr")]
        process = server.Process(
            target=_run_command, args=(folder, name, arguments, environment, files, prepare)
        )
        process.start()
        process.join()
        said = [file.read_text("utf-8") for file in files]
    assert process.exitcode is not None
    return subprocess.CompletedProcess([name, *arguments], process.exitcode, *said)


def _run_command(
    folder: Path,
    name: str,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    files: list[Path],
    prepare: Callable[[], None] | None,
) -> None:
    """Become the process of a command."""
    for file, stream in zip(files, (sys.stdout, sys.stderr), strict=True):
        with file.open("wb") as written:
            os.dup2(written.fileno(), stream.fileno())
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(BIN / name), *arguments]
    if prepare is not None:
        prepare()
    (command,) = entry_points(group="console_scripts", name=name)
    sys.exit(command.load()())


def run_folders(folder: Path) -> list[Path]:
    return sorted(file.parent for file in folder.rglob("metrics.csv"))


TINY_STUDY = (
    "study.nets=[{depth: 8, residual: false}, {depth: 8, residual: true}]",
    *TINY[1:],
    "runtime.log_every=2",
)


def started(folder: Path, *command: str) -> "subprocess.Popen[str]":
    """Start a command in a new session; return when one of its runs has recorded a row."""
    before = {file.stat().st_ino for file in folder.rglob("metrics.csv")}
    process = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: recorded(folder, before))
    return process


def recorded(folder: Path, before: set[int] = frozenset()) -> list[Path]:  # type: ignore[assignment]
    """The metrics.csv files below `folder` that have rows; before: inodes of those to ignore."""
    found = [(file, file.stat()) for file in folder.rglob("metrics.csv")]
    return [file for file, stat in found if stat.st_size > 150 and stat.st_ino not in before]


# Settings of a run that trains for a long time, and does not write a checkpoint by itself.
LONG = ("recipe.iterations=100000", "runtime.checkpoint_every=100000", "runtime.log_every=10")


def group_members(group: int) -> list[int]:
    """The IDs of the processes of a process group that have not ended (Linux)."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, member_of = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(member_of) == group and state != "Z":
            found.append(int(status.parent.name))
    return found
