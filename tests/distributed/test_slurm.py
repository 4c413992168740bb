"""Sweeps on a Slurm cluster of one node, which also preempts and requeues a job."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import TINY, run_folders
from support.studies import untimed_record
from support.training import assert_equal_states, final_state
from support.waiting import wait_until

from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import is_finished

SCRIPT = Path(__file__).parents[1] / "support" / "slurm.sh"
BIN = Path(sys.executable).parent
LIMIT = 240  # seconds for a sweep

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        not (shutil.which("slurmctld") and shutil.which("munged")) or os.geteuid() != 0,
        reason="needs Slurm, munge and root",
    ),
]


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster of one node with four processors."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "start", folder], check=True, timeout=60)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield
    subprocess.run(["scancel", "--user=root"], check=False, timeout=60)
    del os.environ["SLURM_CONF"]
    subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)


def sweep(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [str(BIN / "resnet-train"), "-m", *TINY]
    return subprocess.Popen(
        [*command, "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=30", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]", folder: Path) -> None:
    """Wait until a sweep has succeeded; if it fails, show the output of its jobs."""
    said = process.communicate(timeout=LIMIT)
    logs = [file.read_text() for file in sorted(folder.rglob("*_log.*"))]
    assert process.returncode == 0, "\n".join([*said, *logs])


def output_of_jobs(folder: Path) -> str:
    return "\n".join(file.read_text() for file in sorted(folder.rglob("*_log.out")))


PROCESSES = pytest.mark.parametrize(
    "processes", ["hydra.launcher.tasks_per_node=2", "runtime.devices=2"]
)


@pytest.mark.usefixtures("_cluster")
def test_a_sweep_of_two_jobs_of_two_tasks_makes_a_folder_for_each(tmp_path: Path) -> None:
    ended(sweep(tmp_path, "hydra.launcher.tasks_per_node=2", "seed=0,1"), tmp_path)
    folders = run_folders(tmp_path)
    assert len(folders) == 2
    assert all(map(is_finished, folders))
    said = output_of_jobs(tmp_path)
    assert said.count("2 processes, each on cpu") == 2
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}


def running_job() -> str | None:
    """The ID of the only running job."""
    command = ["squeue", "--noheader", "--states=RUNNING", "--format=%A"]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return result.stdout.strip() or None


# Every process has one thread, as a task or as a worker, so that the results are equal.
LONGER = ("recipe.iterations=800", "runtime.log_every=50")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    command = [str(BIN / "resnet-train"), *TINY, *LONGER, "runtime.devices=2"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=LIMIT)
    (run,) = run_folders(folder)
    return run


@pytest.mark.usefixtures("_cluster")
@PROCESSES
def test_a_job_that_is_asked_to_make_room_is_saved_and_queued_again(
    tmp_path: Path, whole: Path, processes: str
) -> None:
    process = sweep(tmp_path, *LONGER, processes, "runtime.checkpoint_every=100000")
    wait_until(lambda: run_folders(tmp_path), LIMIT)
    (folder,) = run_folders(tmp_path)
    wait_until(lambda: len(untimed_record(folder)) > 1, LIMIT)
    job = running_job()
    assert job is not None
    subprocess.run(["scancel", "--signal=USR2", job], check=True, timeout=60)
    wait_until(lambda: last_checkpoint_iteration(folder) > 0, LIMIT)
    ended(process, tmp_path)
    (resumed,) = re.findall(r"resumed after (\d+) iterations", output_of_jobs(tmp_path))
    assert 0 < int(resumed) < 800
    assert untimed_record(folder) == untimed_record(whole)
    assert_equal_states(final_state(folder), final_state(whole))
