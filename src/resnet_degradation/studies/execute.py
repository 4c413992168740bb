"""Trains the runs of a study: one after another, in worker processes, or with a Hydra launcher.

A failed run does not stop the others. The progress of runs in other processes is read from their
metrics.csv.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from resnet_degradation.config.arguments import quote
from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.schema import Config
from resnet_degradation.records.lock import lock_owner, signal_runs
from resnet_degradation.records.summary import is_finished
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.progress import StudyProgress
from resnet_degradation.studies.ray_jobs import ray_arguments
from resnet_degradation.system.errors import Stopped, explain
from resnet_degradation.system.os_signals import (
    SAVE_SIGNAL,
    handle_signals,
    print_from_handler,
)
from resnet_degradation.system.process import num_cpus
from resnet_degradation.system.worker import init_worker

STOPPING_MESSAGE = "stopping after the current iterations (Ctrl-C again: stop at once)"
POLL_SECONDS = 1.0  # how often to read the metrics.csv of runs in other processes


def run_sequentially(runs: list[Config], progress: StudyProgress) -> None:
    """Train one run after another, in this process."""
    from resnet_degradation.training.session import train

    for run in runs:
        failure = None
        try:
            train(run, progress.start_run(run))
        except Exception as error:
            failure = _explain_failure(error)
        progress.finish_run(run, failure)


def run_concurrently(runs: list[Config], jobs: int, progress: StudyProgress) -> None:
    """Train up to `jobs` runs in parallel, each in its own process.

    If a process dies, only its run fails.
    """
    spawn = multiprocessing.get_context("spawn")
    slots: SimpleQueue[int] = SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)

    stopping = threading.Event()

    def train_in_process(run: Config) -> str | None:
        slot = slots.get()
        # The number of threads stays the same when few runs are left, so that a run resumes with
        # the same number.
        run_with_share = with_thread_share(run, jobs)
        try:
            if stopping.is_set():
                return "the study was stopped"
            with ProcessPoolExecutor(1, spawn, init_worker, (slot,)) as process:
                return process.submit(_train_quietly, run_with_share).result()
        except BrokenProcessPool:
            return "its process ended unexpectedly (the system may have killed it to free memory)"
        finally:
            slots.put(slot)

    threads = ThreadPoolExecutor(jobs)
    save: dict[int, Any] = {SAVE_SIGNAL: lambda n, _: signal_runs(runs, n)} if SAVE_SIGNAL else {}
    pending: dict[Future[str | None], Config] = {}
    try:
        pending = {threads.submit(train_in_process, run): run for run in runs}
        with handle_signals(save):
            while pending:
                ended, _ = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in ended:
                    progress.finish_run(pending.pop(future), future.result())
                for future, run in pending.items():
                    if future.running():
                        progress.start_run(run).read()
    except BaseException:
        stopping.set()
        threads.shutdown(wait=False, cancel_futures=True)
        _terminate([*pending])
        raise
    threads.shutdown()


def _terminate(futures: list[Future[str | None]]) -> None:
    """Tell the processes to save their runs and end; kill them if another signal arrives."""
    print_from_handler(STOPPING_MESSAGE)
    processes: list[multiprocessing.process.BaseProcess] = []
    try:
        # A future may start its process only now.
        while any(future.running() for future in futures):
            processes = multiprocessing.active_children()
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()
            wait(futures, timeout=0.1)
    except BaseException:
        for process in processes:
            process.kill()
        raise


def run_by_launcher(
    study: Study, runs: list[Config], arguments: list[str], progress: StudyProgress
) -> None:
    """Train each run as a job of the Hydra launcher that `arguments` choose.

    The jobs print to launcher.log in the study's folder.
    """
    parts = ",".join(str(study.runs.index(run) + 1) for run in runs)
    command = [sys.executable, "-m", "resnet_degradation.study", "--multirun", *arguments]
    command += ray_arguments(runs[0], arguments)
    command += [*_absolute_path_arguments(runs[0]), f"part={parts}"]
    log = study.folder / "launcher.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    unfinished = runs.copy()
    with log.open("wb") as stream:
        launcher = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while launcher.poll() is None:
                time.sleep(POLL_SECONDS)
                for run in unfinished.copy():
                    if is_finished(run_folder(run)):
                        unfinished.remove(run)
                        progress.finish_run(run, None)
                    else:
                        progress.start_run(run).read()
        finally:
            _end_session(launcher, runs)
    for run in unfinished:
        finished = is_finished(run_folder(run))
        progress.finish_run(run, None if finished else f"its job did not finish: see {log}")


def _absolute_path_arguments(run: Config) -> list[str]:
    """Arguments that make paths absolute, because jobs may start in another folder."""
    paths = {"output_dir": os.path.abspath(run.output_dir), "data.root": run.data.root}  # noqa: PTH100
    if run.runtime.lock not in ("on", "off"):
        paths["runtime.lock"] = os.path.abspath(run.runtime.lock)  # noqa: PTH100
    return [f"{key}={quote(path)}" for key, path in paths.items() if path is not None]


def _end_session(launcher: "subprocess.Popen[bytes]", runs: list[Config]) -> None:
    """Stop a launcher and its jobs on this machine; jobs on a cluster keep running.

    First, the jobs save their runs. The launcher is suspended meanwhile, because some launchers
    kill all jobs when one ends.
    """
    if launcher.poll() is None:
        print_from_handler(STOPPING_MESSAGE)
        if hasattr(signal, "SIGSTOP"):  # not on Windows, where runs are not saved
            os.kill(launcher.pid, signal.SIGSTOP)
    try:
        signal_runs(runs, signal.SIGTERM)
        while any(
            lock_owner(run_folder(run), run.output_dir, run.runtime.lock) is not None
            for run in runs
        ):
            time.sleep(0.1)
    finally:
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)
        else:
            launcher.kill()
        launcher.wait()


def with_thread_share(run: Config, jobs: int) -> Config:
    """Give a run its share of the CPU threads, unless runtime.num_threads is set."""
    if jobs == 1 or run.runtime.num_threads > 0:
        return run
    share = max(1, num_cpus() // jobs)
    return replace(run, runtime=replace(run.runtime, num_threads=share))


def _train_quietly(run: Config) -> str | None:
    from resnet_degradation.console.progress import NullProgress
    from resnet_degradation.training.launch import train_on_devices

    try:
        train_on_devices(run, NullProgress())
    except Stopped as stop:
        os._exit(stop.exit_code)  # do not pass an exception to the study, which is ending
    except Exception as error:
        return _explain_failure(error)
    return None


def _explain_failure(error: Exception) -> str:
    """Describe in one line why a run failed; for a bug, print the traceback first."""
    if (message := explain(error)) is not None:
        return message
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error} (a bug: see the traceback)"
