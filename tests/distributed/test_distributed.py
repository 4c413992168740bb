"""A run by several processes: the same results as with one, and the faults of single processes."""

import copy
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from support.commands import LONG, TINY, TINY_STUDY, group_members, recorded, run_folders, started
from support.studies import untimed_record
from support.training import Tiny, TrainRun, assert_equal_states, final_state, without_times
from support.waiting import wait_until
from torch.nn import functional as F

from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.schema import Config
from resnet_degradation.data.build import make_batches
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.distributed.running_statistics import RunningStatistics, get_statistics
from resnet_degradation.distributed.world import World
from resnet_degradation.probes.errors import held_out_errors
from resnet_degradation.records.lock import lock_owner, run_lock
from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import is_finished, read_final_errors
from resnet_degradation.system.errors import ConfigError, UserError
from resnet_degradation.training.build import prepare
from resnet_degradation.training.launch import launch_workers

BIN = Path(sys.executable).parent
T = TypeVar("T")


class Apart(World):
    """The world as one of its processes sees it; the others do not exist."""

    def broadcast(self, make: Callable[[], T]) -> T:
        return make()

    def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
        return values


def worlds(size: int) -> list[World]:
    return [Apart(rank, size, rank, size) for rank in range(size)]


# Data


@pytest.fixture(params=["memory", "stream"])
def some_data(
    request: pytest.FixtureRequest, tiny: Tiny, digits_folder: Callable[..., Path]
) -> Config:
    """A run on images in memory, or on images that are decoded during training."""
    if request.param == "memory":
        return tiny("runtime.eval_batch_size=50")
    return tiny(
        *("data=imagenet", f"data.root={digits_folder(size=20)}", "data.image_size=16", "depth=18"),
        *("recipe.pad=0", "recipe.batch_size=12", "runtime.eval_batch_size=5"),
        "runtime.num_workers=1",
    )


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_parts_of_a_batch_are_the_batch(some_data: Config, size: int) -> None:
    if some_data.recipe.batch_size % size:
        some_data = replace(some_data, recipe=replace(some_data.recipe, batch_size=12))
    source, cpu = load_source(some_data.data), torch.device("cpu")
    whole = list(make_batches(source, some_data, cpu).training(3, 6))
    parts = [list(make_batches(source, some_data, cpu, w).training(3, 6)) for w in worlds(size)]
    for iteration, (images, labels) in enumerate(whole):
        of_ranks = [part[iteration] for part in parts]
        assert torch.equal(torch.cat([images for images, _ in of_ranks]), images)
        assert torch.equal(torch.cat([labels for _, labels in of_ranks]), labels)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_every_held_out_image_is_seen_by_one_process(some_data: Config, size: int) -> None:
    source, cpu = load_source(some_data.data), torch.device("cpu")
    whole = make_batches(source, some_data, cpu)
    for split in whole.splits:
        parts = [
            list(make_batches(source, some_data, cpu, w).held_out(split)) for w in worlds(size)
        ]
        batches = list(whole.held_out(split))
        assert {len(part) for part in parts} == {len(batches)}
        for number, (images, labels) in enumerate(batches):
            of_ranks = [part[number] for part in parts]
            assert torch.equal(torch.cat([images for images, _ in of_ranks]), images)
            assert torch.equal(torch.cat([labels for _, labels in of_ranks]), labels)


def test_the_errors_of_all_parts_add_up_to_the_whole(tiny: Tiny) -> None:
    config = tiny("runtime.eval_batch_size=50")
    net = prepare(config).net
    source, cpu = load_source(config.data), torch.device("cpu")
    parts = [
        held_out_errors(net, make_batches(source, config, cpu, world), world=world)
        for world in worlds(7)
    ]
    whole = held_out_errors(net, make_batches(source, config, cpu))
    for split, error in whole.items():
        assert sum(part[split] for part in parts) == pytest.approx(error)


# The same numbers


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, values in one.items():
        torch.testing.assert_close(values, other[name], atol=1e-5, rtol=1e-5, msg=name)


TWENTY = ("recipe.iterations=20", "runtime.log_every=1", "runtime.eval_every=10")


@pytest.mark.processes
@pytest.mark.parametrize(("size", "recomputed"), [(2, "on"), (4, "off")])
def test_with_the_statistics_of_all_processes_a_run_is_that_of_one(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path, size: int, recomputed: str
) -> None:
    whole = train_run(tiny(*TWENTY, f"output_dir={tmp_path / 'whole'}"))
    again = f"runtime.checkpoint_activations={recomputed}"
    config = tiny(*TWENTY, "runtime.sync_batchnorm=true", again)
    launch_workers(config, size, quiet=True)
    folder = run_folder(config)
    assert folder.name == whole.name
    for one, other in zip(without_times(folder), without_times(whole), strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-5)
        assert (one.iteration, one.train_error) == (other.iteration, other.train_error)
        assert one.test_error == other.test_error
    assert_close(final_state(folder)["net"], final_state(whole)["net"])
    assert read_final_errors(folder) == read_final_errors(whole)


@pytest.mark.processes
@pytest.mark.parametrize(("size", "recomputed"), [(2, "on"), (4, "off")])
def test_processes_with_separate_statistics_match_one_process_that_imitates_them(
    tiny: Tiny, size: int, recomputed: str
) -> None:
    """One process gives each part of a batch to a copy of the net, and averages the gradients."""
    config = tiny(*TWENTY, f"runtime.checkpoint_activations={recomputed}")
    launch_workers(config, size, quiet=True)
    run = prepare(replace(config, output_dir=config.output_dir + "-one"))
    copies = [copy.deepcopy(run.net).train() for _ in range(size)]
    losses = []
    for number, (images, labels) in enumerate(run.batches.training(0, 20)):
        parts = zip(copies, images.chunk(size), labels.chunk(size), strict=True)
        each = [F.cross_entropy(net(part), right) for net, part, right in parts]
        torch.stack(each).sum().backward()
        losses.append(float(torch.stack(each).detach().mean()))
        for values in zip(run.net.parameters(), *(net.parameters() for net in copies), strict=True):
            mean = torch.stack([v.grad for v in values[1:]]).mean(dim=0)
            # In the memory format of the weights.
            values[0].grad = torch.empty_like(values[0]).copy_(mean)
        run.optimizer.param_groups[0]["lr"] = run.schedule.lr(number)
        run.optimizer.step()
        for net in copies:
            net.zero_grad()
            for own, common in zip(net.parameters(), run.net.parameters(), strict=True):
                own.data.copy_(common.data)
    folder = run_folder(config)
    assert [row.train_loss for row in without_times(folder)] == pytest.approx(losses, abs=1e-5)
    states = [net.state_dict() for net in copies]
    means = {
        name: torch.stack([s[name].double() for s in states]).mean(dim=0) for name in states[0]
    }
    assert_close({n: v.double() for n, v in final_state(folder)["net"].items()}, means)


def test_a_process_keeps_its_own_statistics_when_they_are_averaged_and_saved(tiny: Tiny) -> None:
    """To the bit: so it makes no difference when a run is evaluated, saved, or resumed."""

    class Doubled(Apart):
        def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
            return values.mul_(2.5)

    net = prepare(tiny()).net.train()
    net(torch.randn(8, 3, 8, 8))
    own = copy.deepcopy(net.state_dict())
    statistics = RunningStatistics(net, Doubled(1, 3, 1, 3))
    with statistics.averaged():
        torch.testing.assert_close(net.bn1.running_mean, own["bn1.running_mean"] * 2.5 / 3)
        saved = statistics.state_dict()["of_ranks"]
        with statistics.averaged():
            torch.testing.assert_close(net.bn1.running_var, own["bn1.running_var"] * 2.5 / 3)
    assert_equal_states(net.state_dict(), own)
    assert torch.equal(saved[1], 2.5 * get_statistics(net))
    other = prepare(tiny()).net
    RunningStatistics(other, Apart(1, 3, 1, 3)).load_state_dict({"of_ranks": saved})
    assert torch.equal(get_statistics(other), saved[1])
    RunningStatistics(net, Apart(1, 2, 1, 2)).load_state_dict({"of_ranks": saved})
    assert_equal_states(net.state_dict(), own)  # with another number of processes


# Resuming


def done(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """A command that has ended."""
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def in_order(arguments: tuple[str, ...]) -> list[str]:
    """A tiny run with these arguments; options come first, because Hydra requires it."""
    options = [argument for argument in arguments if argument.startswith("-")]
    return [*options, *TINY, *(a for a in arguments if a not in options)]


def resnet_train(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return done(folder, str(BIN / "resnet-train"), *in_order(arguments))


MEDIUM = ("recipe.iterations=400", "runtime.checkpoint_every=20", "runtime.log_every=20")


def only(folder: Path) -> Path:
    (found,) = run_folders(folder)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    trained = resnet_train(folder, *MEDIUM, "runtime.devices=2")
    assert trained.returncode == 0, trained.stderr
    return only(folder)


@pytest.mark.processes
def test_a_run_of_two_processes_resumes_on_one_two_or_four(tmp_path: Path, whole: Path) -> None:
    (tmp_path / "2").mkdir()
    process = started(tmp_path / "2", "resnet-train", *TINY, *MEDIUM, "runtime.devices=2")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert len(said.strip().splitlines()) == 1
    assert "The same command resumes from iteration" in said
    wait_until(lambda: not group_members(process.pid))
    saved = last_checkpoint_iteration(only(tmp_path / "2"))
    assert 20 <= saved < 400
    for size in (1, 4):
        subprocess.run(["cp", "-r", tmp_path / "2", tmp_path / str(size)], check=True)
    for size in (1, 2, 4):
        again = resnet_train(tmp_path / str(size), *MEDIUM, f"runtime.devices={size}")
        assert again.returncode == 0, again.stderr
        assert f"resumed after {saved}" in again.stdout
        assert ("number of processes was 2" in again.stderr.replace("\n", " ")) == (size != 2)
        folder = only(tmp_path / str(size))
        assert is_finished(folder)
        rows = untimed_record(folder)
        before = [row for row in rows if int(row[0]) <= saved]
        assert before == untimed_record(whole)[: len(before)]
    assert untimed_record(only(tmp_path / "2")) == untimed_record(whole)
    assert_equal_states(final_state(only(tmp_path / "2")), final_state(whole))


# Faults


def main_worker(folder: Path) -> int:
    """The ID of the process of rank 0, which has locked the run."""
    outputs = folder.parents[1]
    wait_until(lambda: lock_owner(folder, str(outputs)) is not None)
    process = lock_owner(folder, str(outputs))
    assert process is not None
    return process


def other_worker(folder: Path, group: int) -> int:
    """The ID of the process of rank 1."""
    workers = [
        process
        for process in group_members(group)
        if b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes()
    ]
    (other,) = set(workers) - {main_worker(folder)}
    return other


def begun(tmp_path: Path, *arguments: str) -> "tuple[subprocess.Popen[str], Path]":
    """Start a run of two processes; return it and its folder when it has a checkpoint."""
    command = ("resnet-train", *TINY, *LONG, "runtime.devices=2", "runtime.checkpoint_every=10")
    process = started(tmp_path, *command, *arguments)
    folder = only(tmp_path)
    wait_until(lambda: last_checkpoint_iteration(folder) > 0)
    return process, folder


def assert_ended(process: "subprocess.Popen[str]", code: int, seconds: float) -> str:
    """The last line that a command of several processes printed; all of them must have ended."""
    _, said = process.communicate(timeout=seconds)
    assert process.returncode == code, said
    assert "Traceback" not in said
    (line,) = said.strip().splitlines()
    wait_until(lambda: not group_members(process.pid))
    return line


@pytest.mark.processes
def test_a_process_that_is_killed_ends_the_run_and_is_named(tmp_path: Path) -> None:
    process, folder = begun(tmp_path)
    victim = other_worker(folder, process.pid)
    os.kill(victim, signal.SIGKILL)
    line = assert_ended(process, 1, seconds=30)
    assert line.startswith(f"error: rank 1 (process {victim}) was killed by SIGKILL. The same")


@pytest.mark.processes
def test_a_process_that_hangs_ends_the_run_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "5")
    process, folder = begun(tmp_path, "runtime.timeout=5")
    os.kill(other_worker(folder, process.pid), signal.SIGSTOP)
    line = assert_ended(process, 4, seconds=40)
    assert "rank 0 got no answer from another process in 5 s (runtime.timeout)" in line


@pytest.mark.processes
def test_processes_are_started_again_from_the_last_checkpoint(tmp_path: Path, whole: Path) -> None:
    arguments = (*MEDIUM, "runtime.devices=2", "runtime.max_restarts=1")
    process = started(tmp_path, "resnet-train", *TINY, *arguments)
    folder = only(tmp_path)
    wait_until(lambda: last_checkpoint_iteration(folder) > 0)
    os.kill(other_worker(folder, process.pid), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "all processes restart (1 of runtime.max_restarts=1)" in said
    assert untimed_record(folder) == untimed_record(whole)
    assert_equal_states(final_state(folder), final_state(whole))


@pytest.mark.processes
def test_an_error_in_one_process_is_reported_once_and_restarts_nothing(
    tiny: Tiny,
) -> None:
    config = tiny("runtime.max_restarts=3")
    with (
        run_lock(run_folder(config), config.output_dir),
        pytest.raises(UserError, match="is being trained by process") as failure,
    ):
        launch_workers(config, 2, quiet=True)
    assert failure.value.exit_code == 2


@pytest.mark.processes
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
def test_signals_to_all_processes_save_the_run(tmp_path: Path) -> None:
    process = started(
        tmp_path, "resnet-train", *TINY, *LONG, "runtime.devices=2", "runtime.log_every=1"
    )
    folder = only(tmp_path)
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: last_checkpoint_iteration(folder) > 0)
    rows = len(untimed_record(folder))
    wait_until(lambda: len(untimed_record(folder)) > rows + 5)
    os.killpg(process.pid, signal.SIGINT)  # like Ctrl-C in a terminal
    line = assert_ended(process, 130, seconds=40)
    assert f"resumes from iteration {last_checkpoint_iteration(folder):,}" in line


@pytest.mark.processes
def test_no_process_outlives_the_command(tmp_path: Path) -> None:
    process, _ = begun(tmp_path)
    process.kill()
    process.wait(timeout=40)
    wait_until(lambda: not group_members(process.pid))


@pytest.mark.processes
def test_a_failure_of_rank_0_alone_ends_all_processes(tmp_path: Path) -> None:
    """No file may be longer than 20 kB, and only rank 0 writes one: the checkpoint."""
    command = [str(BIN / "resnet-train"), *TINY, *LONG, "runtime.checkpoint_every=30"]
    shell = f"ulimit -f 20; exec {shlex.join([*command, 'runtime.devices=2'])}"
    began = time.monotonic()
    failed = done(tmp_path, "bash", "-c", shell)
    assert failed.returncode == 2, failed.stderr
    assert time.monotonic() - began < 60
    (line,) = failed.stderr.strip().splitlines()
    assert "cannot continue (File too large" in line


# Sweeps and studies


@pytest.mark.processes
def test_a_sweep_of_two_process_runs_makes_a_folder_each_and_continues_after_a_failure(
    tmp_path: Path,
) -> None:
    swept = resnet_train(
        tmp_path, "-m", "recipe.lr=1e30,0.02", "runtime.devices=2", "recipe.iterations=20"
    )
    assert swept.returncode == 3
    (line,) = swept.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "diverged" in line
    folders = run_folders(tmp_path)
    assert len(folders) == 2
    assert sum(map(is_finished, folders)) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}


@pytest.mark.processes
def test_a_study_trains_each_run_on_two_processes(tmp_path: Path) -> None:
    command = [str(BIN / "resnet-study"), *TINY_STUDY, "runtime.devices=2"]
    studied = done(tmp_path, *command)
    assert studied.returncode == 0, studied.stderr
    assert len(run_folders(tmp_path)) == 2
    refused = done(tmp_path, *command, "jobs=2")
    assert refused.returncode == 2
    assert "so set only one of the two" in refused.stderr


# Invalid settings


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["runtime.devices=3"], {}, "recipe.batch_size=32 cannot be divided among 3 processes"),
        (["runtime.devices=16", "recipe.batch_size=16"], {}, "one image for each of 16 processes"),
        (["runtime.devices=0"], {}, "it must be a number of processes, or auto"),
        (["runtime.devices=many"], {}, "it must be a number of processes, or auto"),
        (["runtime.timeout=0"], {}, "it must be a positive number of seconds"),
        (["runtime.max_restarts=-1"], {}, "it must be 0 or more"),
        ([], {"WORLD_SIZE": "3", "RANK": "0"}, "cannot be divided among 3 processes"),
        (
            ["runtime.devices=2"],
            {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"},
            "one of 4 processes that torchrun or Slurm started",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_started(
    tiny: Tiny,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=re.escape(message)):
        tiny(*arguments)


# torchrun


def torchrun(folder: Path, *arguments: str, size: int = 2) -> list[str]:
    launcher = ("--standalone", f"--nproc-per-node={size}", "-m", "resnet_degradation.train")
    return [str(BIN / "torchrun"), *launcher, *in_order(arguments)]


@pytest.mark.processes
def test_under_torchrun_rank_0_alone_speaks_and_writes(tmp_path: Path, tiny: Tiny) -> None:
    command = torchrun(tmp_path, "-m", "seed=0,1")
    trained = done(tmp_path, *command)
    assert trained.returncode == 0, trained.stderr
    assert len(run_folders(tmp_path)) == 2
    assert all(map(is_finished, run_folders(tmp_path)))
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}
    for seed in (0, 1):
        assert trained.stdout.count(f"ResNet-8-width0.5 seed {seed}, cifar family") == 1
    assert "2 processes, each on cpu" in trained.stdout


@pytest.mark.processes
def test_under_torchrun_an_error_is_reported_once(tmp_path: Path) -> None:
    command = torchrun(tmp_path, "recipe.lr=1e30", "recipe.iterations=20")
    failed = done(tmp_path, *command)
    assert failed.returncode != 0
    assert len([line for line in failed.stderr.splitlines() if "diverged" in line]) == 1


@pytest.mark.processes
def test_under_torchrun_sigterm_saves_the_run(tmp_path: Path) -> None:
    process = subprocess.Popen(
        torchrun(tmp_path, *LONG),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: recorded(tmp_path))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert said.count("all saved: the same command resumes it") == 1
    assert last_checkpoint_iteration(only(tmp_path)) > 0
    wait_until(lambda: not group_members(process.pid))
