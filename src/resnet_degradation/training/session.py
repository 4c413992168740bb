"""Trains one run from its lock to its summary: resume, train, finish, report errors."""

from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from resnet_degradation.config.identity import run_folder, run_name
from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import NullProgress, Progress
from resnet_degradation.distributed.rendezvous import process_group
from resnet_degradation.distributed.stop_agreement import StopAgreement
from resnet_degradation.probes.responses import measure_responses
from resnet_degradation.records.layers import Response
from resnet_degradation.records.lock import run_lock
from resnet_degradation.records.run_folder import checkpoint_files
from resnet_degradation.records.summary import FinalErrors, is_finished, read_final_errors
from resnet_degradation.system.apple_gpu import apple_gpu_note
from resnet_degradation.system.errors import (
    ConfigError,
    RecordError,
    Stopped,
    UserError,
    describe_os_error,
)
from resnet_degradation.system.os_signals import catch_signals
from resnet_degradation.system.process import describe_cpu_contention
from resnet_degradation.system.processor import has_bf16_instructions, precision_note
from resnet_degradation.training.advice import advise_once
from resnet_degradation.training.build import prepare
from resnet_degradation.training.describe import describe_run, make_summary
from resnet_degradation.training.loop import train_iterations
from resnet_degradation.training.monitor import Monitor, describe_last_checkpoint
from resnet_degradation.training.recorder import Recorder
from resnet_degradation.training.state import Run
from resnet_degradation.training.torch_settings import restore_settings


@restore_settings()
def train(config: Config, progress: Progress) -> Path:
    """Train a resolved configuration to its end and return its run folder.

    A finished run is left alone. An interrupted run resumes bit for bit from its last checkpoint.
    If torchrun or Slurm started several processes, each calls this function; only rank 0 reports
    progress and owns the folder. Raises UserError if the user can fix what went wrong.
    """
    folder = run_folder(config)
    with process_group(folder.name, config.runtime.timeout) as world:
        if not world.is_main:
            progress = NullProgress()
        if world.broadcast(lambda: is_finished(folder)):
            if world.is_main:
                errors = read_final_errors(folder)
                progress.say(f"{run_name(config)} is already finished: {errors}\n{folder}")
            return folder
        if world.is_main:
            create_output_dir(config.output_dir)
        lock = run_lock(folder, config.output_dir, config.runtime.lock)
        with lock if world.is_main else nullcontext():
            # Another program may have finished the run while this one waited.
            if not world.broadcast(lambda: is_finished(folder)):
                try:
                    run = prepare(config, world, progress.show_preparation)
                except BaseException:
                    progress.end()
                    raise
                run_training(run, progress)
    return folder


def run_training(run: Run, progress: Progress) -> None:
    """Train and finish a run.

    Raises Stopped on a signal, after saving the run, and RecordError if files cannot be written.
    """
    with catch_signals(single_process=run.world.size == 1) as request:
        try:
            train_and_finish(run, progress, StopAgreement(run.world, request))
        except (UserError, OSError) as error:
            failure: Exception = error
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                error.filename = error.filename or str(run.folder)
                next_step = "resumes it" if checkpoint_files(run.folder) else "starts it again"
                failure = RecordError(
                    f"{run.name} cannot continue ({describe_os_error(error)}). "
                    f"{describe_last_checkpoint(run)}. Once the cause is fixed, the same command "
                    f"{next_step}"
                )
            if request.stop_signal is not None:
                saved = "saved" if request.saved else f"not saved: {failure}"
                raise Stopped(request.stop_signal, f"{run.name} stopped, {saved}") from error
            raise failure from None
    if request.stop_signal is not None:
        raise Stopped(request.stop_signal, f"{run.name} was finished before it was stopped")


def train_and_finish(run: Run, progress: Progress, stop: StopAgreement) -> None:
    """Train the remaining iterations, then write the files that mark the run as finished."""
    with closing(Recorder(run)) if run.world.is_main else nullcontext() as recorder:
        if run.device.type == "cpu":
            if run.world.size == 1:
                advise_once("threads", describe_cpu_contention(torch.get_num_threads()), progress)
            note = precision_note(run.config.runtime.precision, has_bf16_instructions())
            advise_once("precision", note, progress)
            advise_once("device", apple_gpu_note(run.config.runtime.device), progress)
        progress.begin(run.start, run.plan.num_iterations, describe_run(run))
        monitor = Monitor(run, recorder, progress, stop)
        try:
            train_iterations(run, monitor)
            training, last = run.meter.read("final"), run.rows[-1]
            final = FinalErrors(
                training.error, last.val_error, last.test_error, training.num_images
            )
            responses = measure_final_responses(monitor)
        finally:
            progress.end()
        summary = make_summary(run, final)
        if recorder is not None:
            recorder.finish(final, responses, summary)
        stop.finish()
    progress.say(f"{run.name}: {final} ({run.clock.seconds():.0f} s)")
    if (throughput := run.throughput.overall()) is not None:
        progress.say(str(throughput))


def create_output_dir(output_dir: str) -> None:
    """Create the output folder; raise ConfigError if that is impossible."""
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"output_dir={output_dir} cannot be used as a folder ({error.strerror}): choose another"
        ) from error


def measure_final_responses(monitor: Monitor) -> list[Response]:
    """Measure the layer responses of the trained net, on the whole first held-out split."""
    run = monitor.run

    def held_out_images() -> Iterator[Tensor]:
        with closing(run.batches.held_out(next(iter(run.batches.splits)))) as held_out:
            for images, _ in held_out:
                monitor.stop.refresh()
                monitor.raise_if_stopped(run.plan.num_iterations)
                yield images

    with run.statistics.averaged():
        return measure_responses(run.net, held_out_images(), run.world)
