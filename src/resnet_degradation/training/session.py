"""One run, from its first iteration or its last checkpoint to its end."""

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
from resnet_degradation.probes.responses import layer_responses
from resnet_degradation.records.layers import Response
from resnet_degradation.records.lock import run_lock
from resnet_degradation.records.summary import FinalErrors, is_finished
from resnet_degradation.system.errors import (
    ConfigError,
    RecordError,
    Stopped,
    UserError,
    describe_os_error,
)
from resnet_degradation.system.os_signals import catch_signals
from resnet_degradation.system.process import cpu_contention
from resnet_degradation.training.build import prepare
from resnet_degradation.training.loop import iterate, stop_if_asked
from resnet_degradation.training.memory import restore_settings
from resnet_degradation.training.recorder import Recorder, Rows, describe, summary
from resnet_degradation.training.state import Run, last_good


@restore_settings()
def train(config: Config, progress: Progress) -> Path:
    """Run a settled configuration to its end and return its run folder.

    A finished run is left as it is; an interrupted one goes on from its last checkpoint as if it
    had never stopped. Where torchrun or Slurm started several processes, each calls this, and rank
    0 alone reports progress and owns the folder. Raises UserError for whatever the user can fix.
    """
    folder = run_folder(config)
    with process_group(folder.name, config.runtime.timeout) as world:
        if not world.is_main:
            progress = NullProgress()
        if world.broadcast(lambda: is_finished(folder)):
            progress.say(f"{run_name(config)} is finished already:\n{folder}")
            return folder
        if world.is_main:
            require_folder(config.output_dir)
        lock = run_lock(folder, config.output_dir, config.runtime.lock)
        with lock if world.is_main else nullcontext():
            # Another process may have finished it just now.
            if not world.broadcast(lambda: is_finished(folder)):
                try:
                    run = prepare(config, world, progress.prepare)
                except BaseException:
                    progress.end()
                    raise
                run_training(run, progress)
    return folder


def run_training(run: Run, progress: Progress) -> None:
    """The iterations that are left of a run, and what is measured at its end.

    Raises Stopped, once the run is saved, when a signal asks for that; RecordError when files
    cannot be written.
    """
    with catch_signals(alone=run.world.size == 1) as wishes:
        try:
            iterate_and_finish(run, progress, StopAgreement(run.world, wishes))
        except (UserError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                error.filename = error.filename or str(run.folder)
                failure: Exception = RecordError(
                    f"{run.name} cannot go on ({describe_os_error(error)}). "
                    f"{last_good(run)}: fix that, and the same command goes on"
                )
            else:
                failure = error
            if wishes.stop_signal is not None:
                saved = "saved" if wishes.saved else f"not saved: {failure}"
                raise Stopped(wishes.stop_signal, f"{run.name} stopped, {saved}") from error
            raise failure from None
    if wishes.stop_signal is not None:
        raise Stopped(wishes.stop_signal, f"{run.name} was finished before it was stopped")


def iterate_and_finish(run: Run, progress: Progress, wishes: StopAgreement) -> None:
    """The iterations that are left, and the files that say: finished."""
    is_main = run.world.is_main
    rows = Recorder(run.folder, run.config, run.rows) if is_main else Rows(run.rows)
    with closing(rows) as recorder:
        recorder.write_image_notes(run.classes, run.skipped)
        if run.extension is not None:
            recorder.write_json("extension.json", run.extension.format_text())
        alone_on_cpu = run.device.type == "cpu" and run.world.size == 1
        if alone_on_cpu and (note := cpu_contention(torch.get_num_threads())):
            progress.say(note)
        progress.begin(run.start, run.plan.num_iterations, describe(run))
        try:
            iterate(run, recorder, progress, wishes)
            final = final_errors(run)
            responses = final_responses(run, wishes)
        finally:
            progress.end()
        recorder.finish(final, responses, summary(run, final))
        wishes.finish()
    progress.say(f"{run.name}: {final} ({run.clock.seconds():.0f} s)")
    if (pace := run.throughput.overall()) is not None:
        progress.say(str(pace))


def require_folder(output_dir: str) -> None:
    """Raise ConfigError, before any work is done, if there can be no folder of this name."""
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"output_dir={output_dir} cannot be used as a folder ({error.strerror}): name another"
        ) from error


def final_errors(run: Run) -> FinalErrors:
    """The errors at the end of a run whose iterations are done."""
    seen, last = run.meter.read("final"), run.rows[-1]
    return FinalErrors(seen.error, last.val_error, last.test_error, seen.num_images)


def final_responses(run: Run, wishes: StopAgreement) -> list[Response]:
    """The layer responses at the end of a run, on all images of its first held-out split."""

    def held_out_images() -> Iterator[Tensor]:
        with closing(run.batches.held_out(next(iter(run.batches.splits)))) as held_out:
            for images, _ in held_out:
                wishes.refresh()
                stop_if_asked(run, wishes, run.plan.num_iterations)
                yield images

    with run.statistics.averaged():
        return layer_responses(run.net, held_out_images(), run.world)
