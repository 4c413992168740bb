"""When a run is saved: at its checkpoints and on signals, and only while it is finite."""

from resnet_degradation.console.progress import Progress
from resnet_degradation.distributed.stop_agreement import StopAgreement
from resnet_degradation.records.run_folder import checkpoint_files
from resnet_degradation.system.errors import DivergenceError, Stopped
from resnet_degradation.training.state import Run


def save(run: Run, iteration: int) -> None:
    """Write a checkpoint. Raises DivergenceError instead if the loss or a weight is not finite."""
    with run.clock.excluded():
        check_finite(run, iteration)
        for name, values in run.net.state_dict().items():
            if not values.isfinite().all():
                what = f"{name} is no longer finite after iteration {iteration:,}"
                raise diverged(run, iteration, what)
        run.save(iteration)


def poll_signals(run: Run, progress: Progress, stop: StopAgreement, iteration: int) -> None:
    """Save the run if a signal asked for it; raise Stopped if one asked the run to stop.

    Nothing may have been measured since `iteration` was trained.
    """
    stop.refresh()
    if stop.save_requested or stop.stop_signal is not None:
        save(run, iteration)
        if stop.save_requested:
            progress.say(f"{run.name}: saved after {iteration:,} iterations")
        stop.request.saved = stop.stop_signal is not None
    raise_if_stopped(run, stop, iteration)


def raise_if_stopped(run: Run, stop: StopAgreement, iteration: int) -> None:
    """Raise Stopped if a signal asked the run to stop. It must already have been saved."""
    if stop.stop_signal is not None:
        run.world.barrier()  # rank 0 may still be saving
        raise Stopped(
            stop.stop_signal,
            f"{run.name} stopped after {iteration:,} of {run.plan.num_iterations:,} iterations, "
            "all saved: the same command resumes it",
        )


def check_finite(run: Run, iteration: int) -> None:
    """Raise DivergenceError if a training loss up to this iteration was not finite."""
    if (finite := run.meter.count_finite()) < iteration:
        raise diverged(run, finite + 1, f"the loss of iteration {finite + 1:,} is not finite")


def diverged(run: Run, iteration: int, what: str) -> DivergenceError:
    """The error of a run that diverged in an iteration, counted from 1."""
    return DivergenceError(
        f"{run.name} diverged: {what}, at learning rate {run.schedule.lr(iteration - 1):g}. "
        f"{last_checkpoint_of(run)}. Lower recipe.lr, or start slowly with recipe.warmup=always"
    )


def last_checkpoint_of(run: Run) -> str:
    """A sentence that names the checkpoint from which the run can be resumed."""
    files = checkpoint_files(run.folder)
    if not files:
        return "It has no checkpoint yet"
    return f"Its last good checkpoint is {files[0].name}, in {run.folder}"
