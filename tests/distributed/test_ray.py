"""A Ray cluster loses a node, joblib a worker: the records are those of an undisturbed study."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import TINY_STUDY, run_folders
from support.studies import untimed_record
from support.training import assert_equal_states, final_state
from support.waiting import wait_until

from resnet_degradation.config.schema import Config, RuntimeConfig
from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import is_finished
from resnet_degradation.studies.ray_jobs import ray_arguments

STUDY = (
    *TINY_STUDY,
    "recipe.iterations=500",
    "runtime.log_every=50",
    "runtime.checkpoint_every=50",
)
LIMIT = 180  # seconds for a study on a busy machine

PROC = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="processes are read from /proc"
)


def study(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "resnet_degradation.study", *STUDY, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of_finished(process: "subprocess.Popen[str]", folder: Path) -> str:
    """Wait for a study to succeed; return its output and that of its jobs."""
    output, _ = process.communicate(timeout=LIMIT)
    output += "".join(file.read_text() for file in folder.rglob("launcher.log"))
    assert process.returncode == 0, output
    return output


def processes_of_runs(folder: Path) -> list[int]:
    return [int(file.read_text().split()[0]) for file in sorted(folder.rglob("*.holder"))]


def parent_of(process: int) -> int:
    status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    return int(status.rpartition(")")[2].split()[1])


def have_checkpoints(folder: Path) -> bool:
    """Whether both runs have checkpoints."""
    folders = run_folders(folder)
    return len(folders) == 2 and all(last_checkpoint_iteration(run) > 0 for run in folders)


def assert_same_study(folder: Path, whole: Path) -> None:
    assert [run.name for run in run_folders(folder)] == [run.name for run in run_folders(whole)]
    for run, expected in zip(run_folders(folder), run_folders(whole), strict=True):
        assert untimed_record(run) == untimed_record(expected)
        assert_equal_states(final_state(run), final_state(expected))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed study."""
    folder = tmp_path_factory.mktemp("whole")
    output_of_finished(study(folder), folder)
    return folder


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of two nodes with one CPU each."""
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="no ray launcher")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    nodes.add_node(num_cpus=1)
    yield nodes
    nodes.shutdown()


@pytest.mark.ray
@PROC
def test_runs_of_a_killed_node_resume_on_another(tmp_path: Path, whole: Path, cluster: Any) -> None:
    process = study(
        tmp_path, "hydra/launcher=ray", f"hydra.launcher.ray.init.address={cluster.address}"
    )
    wait_until(lambda: have_checkpoints(tmp_path), LIMIT)
    (node,) = cluster.worker_nodes
    runs = processes_of_runs(tmp_path)
    daemons = {parent_of(run) for run in runs}
    assert len(daemons) == 2  # one per node, because each trains one run
    assert node.all_processes["raylet"][0].process.pid in daemons
    cluster.remove_node(node, allow_graceful=False)
    output = output_of_finished(process, tmp_path)
    assert output.count("resumed after") >= 1
    assert len(processes_of_runs(tmp_path)) == 2
    assert len(set(processes_of_runs(tmp_path)) - set(runs)) <= 1
    assert_same_study(tmp_path, whole)


@pytest.mark.ray
@PROC
def test_a_study_by_joblib_completes_after_a_worker_was_killed(tmp_path: Path, whole: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="no joblib launcher")
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    process = study(tmp_path, *joblib)
    wait_until(lambda: have_checkpoints(tmp_path), LIMIT)
    os.kill(processes_of_runs(tmp_path)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 2, output
    assert "its job did not finish" in output
    assert not all(map(is_finished, run_folders(tmp_path)))
    assert "resumed after" in output_of_finished(study(tmp_path, *joblib), tmp_path)
    assert_same_study(tmp_path, whole)


@pytest.mark.parametrize(
    ("device", "devices", "num_threads", "num_cpus", "num_gpus"),
    [
        ("cpu", 1, 0, 1, 0),
        ("cpu", 1, 4, 4, 0),
        ("cpu", 2, 4, 8, 0),
        ("cpu", "auto", 4, 4, 0),
        ("cuda", 2, 0, 2, 2),
        ("cuda", 2, 4, 8, 2),
    ],
)
def test_a_job_asks_for_what_its_run_needs(
    device: str, devices: int | str, num_threads: int, num_cpus: int, num_gpus: int
) -> None:
    runtime = RuntimeConfig(device=device, devices=devices, num_threads=num_threads)
    asked = ray_arguments(Config(runtime=runtime), ["hydra/launcher=ray"])
    assert f"++hydra.launcher.ray.remote.num_cpus={num_cpus}" in asked
    assert f"++hydra.launcher.ray.remote.num_gpus={num_gpus}" in asked


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_what_the_user_asks_for_wins(plus: str) -> None:
    given = f"{plus}hydra.launcher.ray.remote.num_gpus=0.5"
    asked = ray_arguments(Config(), ["hydra/launcher=ray", given])
    assert not any("num_gpus" in argument for argument in asked)


def test_other_launchers_get_no_arguments_for_ray() -> None:
    assert ray_arguments(Config(), ["hydra/launcher=joblib"]) == []
