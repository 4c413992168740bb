"""Signals save a run before it ends, and do not change its results."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from support.commands import (
    BIN,
    LONG,
    TINY,
    TINY_STUDY,
    group_members,
    recorded,
    run_folders,
    started,
)
from support.training import (
    PLATEAU,
    WARMUP,
    Tiny,
    TrainRun,
    assert_equal_states,
    final_state,
    without_times,
)
from support.waiting import wait_until

from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import RunProgress
from resnet_degradation.data.batches import Batch
from resnet_degradation.data.in_memory import MemoryBatches
from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import read_final_errors
from resnet_degradation.system.errors import Stopped
from resnet_degradation.system.os_signals import STOP_SIGNALS, catch_signals
from resnet_degradation.training import session

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _signals_as_usual() -> Iterator[None]:
    """Handle signals also if nohup or a shell's background job made this process ignore them."""
    usual = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in usual.items():
        signal.signal(number, handler)


class SignalledProgress(RunProgress):
    """Sends signals to this process after `after` iterations."""

    def __init__(self, after: int, *numbers: int) -> None:
        super().__init__(Console(quiet=True))
        self.after, self.numbers = after, numbers
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def advance(self, done: int) -> None:
        if done == self.after:
            for number in self.numbers:
                signal.raise_signal(number)


def assert_ends_as(config: Config, whole: Path, train_run: TrainRun) -> None:
    resumed = train_run(config)
    assert without_times(resumed) == without_times(whole)
    assert_equal_states(final_state(resumed), final_state(whole))
    assert read_final_errors(resumed) == read_final_errors(whole)


@pytest.fixture
def whole(tiny: Tiny, train_run: TrainRun, tmp_path: Path) -> Path:
    """A run that was never interrupted."""
    return train_run(tiny(*PLATEAU, *WARMUP, f"output_dir={tmp_path / 'whole'}"))


@pytest.mark.parametrize("after", [1, 6, 12])
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_saves_the_iteration_and_ends_the_run(
    tiny: Tiny, train_run: TrainRun, whole: Path, number: signal.Signals, after: int
) -> None:
    config = tiny(*PLATEAU, *WARMUP)
    handler = signal.getsignal(number)
    with pytest.raises(Stopped, match=f"after {after} of 12 .* command resumes it") as stop:
        session.train(config, SignalledProgress(after, number))
    assert stop.value.exit_code == 128 + number
    assert last_checkpoint_iteration(run_folder(config)) == after
    assert signal.getsignal(number) is handler
    assert_ends_as(config, whole, train_run)


@pytest.mark.parametrize("evaluation", [1, 2, 4])
def test_a_signal_cuts_an_evaluation_short_and_it_is_done_again(
    tiny: Tiny,
    train_run: TrainRun,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    evaluation: int,
) -> None:
    """The fourth pass over the held-out images measures the responses of the layers."""
    config = tiny(*PLATEAU, *WARMUP, "runtime.eval_batch_size=100")
    held_out, times = MemoryBatches.held_out, 0
    batches = 0

    def signalled(self: MemoryBatches, split: str) -> Iterator[Batch]:
        nonlocal times, batches
        times += 1
        for batch in held_out(self, split):
            if times == evaluation:
                batches += 1
                signal.raise_signal(signal.SIGTERM)
            yield batch

    monkeypatch.setattr(MemoryBatches, "held_out", signalled)
    with pytest.raises(Stopped):
        train_run(config)
    assert batches == 1  # of four batches
    monkeypatch.undo()
    assert_ends_as(config, whole, train_run)


def test_a_second_interrupt_stops_at_once(tiny: Tiny, train_run: TrainRun, whole: Path) -> None:
    config = tiny(*PLATEAU, *WARMUP)
    with pytest.raises(Stopped, match="stopped at once"):
        session.train(config, SignalledProgress(7, signal.SIGINT, signal.SIGINT))
    assert last_checkpoint_iteration(run_folder(config)) == 5
    assert_ends_as(config, whole, train_run)


def test_sigusr1_saves_and_continues(tiny: Tiny, train_run: TrainRun, whole: Path) -> None:
    config = tiny(*PLATEAU, *WARMUP)
    progress = SignalledProgress(11, signal.SIGUSR1)
    session.train(config, progress)
    assert "ResNet-8-width0.5 seed 0: saved after 11 iterations" in progress.said
    assert_ends_as(config, whole, train_run)


def test_a_signal_that_comes_too_late_finishes_the_run(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny()
    finish = session.Recorder.finish

    def signalled(self, *details) -> None:  # type: ignore[no-untyped-def]
        signal.raise_signal(signal.SIGTERM)
        finish(self, *details)

    monkeypatch.setattr(session.Recorder, "finish", signalled)
    with pytest.raises(Stopped, match="was finished before it was stopped"):
        session.train(config, RunProgress(Console(quiet=True)))
    assert (run_folder(config) / "summary.json").is_file()


def test_an_interrupt_stops_the_run_although_output_is_closed(
    tiny: Tiny, train_run: TrainRun, whole: Path
) -> None:
    """This happens with 2>&1 | tee log, because Ctrl-C ends tee, too."""
    config, stderr = tiny(*PLATEAU, *WARMUP), os.dup(2)
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 2)
    try:
        with pytest.raises(Stopped, match="all saved"):
            session.train(config, SignalledProgress(7, signal.SIGINT))
    finally:
        os.dup2(stderr, 2)
        os.close(writer)
        os.close(stderr)
    assert_ends_as(config, whole, train_run)


def test_a_reader_who_leaves_ends_the_run_which_is_saved(tmp_path: Path) -> None:
    command = [str(BIN / "resnet-train"), *TINY, *LONG]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # like head
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait(timeout=60) == 141  # the exit code of processes that SIGPIPE ended
    (line,) = said.splitlines()
    assert "all saved: the same command resumes it" in line
    assert line.endswith("(the reader of the output closed the pipe)")
    assert last_checkpoint_iteration(run_folders(tmp_path)[0]) > 0


def test_a_study_says_that_the_reader_of_its_plan_went_away(tmp_path: Path) -> None:
    command = [str(BIN / "resnet-study"), "plan=true"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    (line,) = process.stderr.read().splitlines()
    assert process.wait(timeout=60) == 141
    assert line.startswith("stopped: ")
    assert line.endswith("(the reader of the output closed the pipe)")


def test_a_stop_is_not_forgotten_when_saving_fails(
    tiny: Tiny, train_run: TrainRun, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    config = tiny(*PLATEAU, *WARMUP)
    monkeypatch.setattr("resnet_degradation.training.state.save_checkpoint", full)
    with pytest.raises(Stopped, match=r"stopped, not saved: .*No space left on device"):
        session.train(config, SignalledProgress(3, signal.SIGTERM))
    monkeypatch.undo()
    assert_ends_as(config, whole, train_run)


def test_a_process_that_is_forked_meanwhile_hears_no_signals(
    tiny: Tiny, train_run: TrainRun
) -> None:
    with catch_signals() as wishes:
        if (child := os.fork()) == 0:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            os._exit(0 if wishes.stop_signal is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_with_the_code_of_the_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = started(tmp_path, "resnet-train", *TINY, *LONG)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    line = said.splitlines()[-1]
    assert "of 100,000 iterations, all saved: the same command resumes it" in line
    assert line.endswith(f"({number.name})")
    assert "Traceback" not in said
    (folder,) = run_folders(tmp_path)
    assert f"after {last_checkpoint_iteration(folder):,} of" in line


def streamed(root: Path) -> tuple[str, ...]:
    return (
        *TINY, *LONG, "data=imagenet", f"data.root={root}", "data.image_size=16", "depth=18",
        "width=0.125", "recipe.batch_size=6", "recipe.pad=0", "runtime.num_workers=2",
    )  # fmt: skip


def test_a_signal_to_the_whole_group_spares_the_workers_until_the_run_is_saved(
    tmp_path: Path, digits_folder: Callable[..., Path]
) -> None:
    """All processes get the signal, from Ctrl-C in a terminal or from a cluster that ends a job."""
    process = started(tmp_path, "resnet-train", *streamed(digits_folder(size=24)))
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "all saved" in said
    assert "Traceback" not in said
    wait_until(lambda: not group_members(process.pid))


def test_a_killed_run_is_taken_over_although_its_workers_live_on_for_a_while(
    tmp_path: Path, digits_folder: Callable[..., Path]
) -> None:
    arguments = streamed(digits_folder(size=24))
    process = started(tmp_path, "resnet-train", *arguments)
    process.kill()
    process.wait()
    again = started(tmp_path, "resnet-train", *arguments)
    again.send_signal(signal.SIGTERM)
    _, said = again.communicate(timeout=60)
    assert again.returncode == 143, said


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read from /proc")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_study_saves_every_run_under_way_and_leaves_no_process(tmp_path: Path, jobs: int) -> None:
    arguments = ("resnet-study", *TINY_STUDY, *LONG, f"jobs={jobs}")
    process = started(tmp_path, *arguments)
    wait_until(lambda: len(recorded(tmp_path)) == jobs)
    os.killpg(process.pid, signal.SIGINT)  # like Ctrl-C in a terminal
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command resumes" in said.splitlines()[-1]
    assert "Traceback" not in said
    wait_until(lambda: not group_members(process.pid))
    assert len(run_folders(tmp_path)) == jobs
    assert all(last_checkpoint_iteration(folder) > 0 for folder in run_folders(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_of_a_launcher_save_their_runs_although_others_end_first(
    tmp_path: Path, launcher: str
) -> None:
    plugin = launcher.partition("_")[0]
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher", reason=f"no {plugin} launcher")
    slow = ("data.image_size=32", "recipe.batch_size=700", "runtime.log_every=1")
    arguments = (*TINY_STUDY, *LONG, *slow, f"hydra/launcher={launcher}", "width=1")
    nets = "study.nets=[{depth: 8, residual: false}, {depth: 20, residual: true}]"
    process = started(tmp_path, "resnet-study", *arguments, nets)
    wait_until(lambda: len(recorded(tmp_path)) == 2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert all(last_checkpoint_iteration(folder) > 0 for folder in run_folders(tmp_path))
