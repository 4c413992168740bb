"""Runs the commands in processes, as a user does."""

import os
import subprocess
import sys
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
