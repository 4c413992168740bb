"""One run, from its first iteration or its last checkpoint to its end."""

import math
from contextlib import closing

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.console.progress import Progress
from resnet_degradation.distributed.stop_agreement import StopAgreement
from resnet_degradation.probes.errors import held_out_errors
from resnet_degradation.probes.layer_stats import layer_stats
from resnet_degradation.records.metrics import Row
from resnet_degradation.system.errors import DivergenceError, Stopped
from resnet_degradation.system.rng import stable_seed
from resnet_degradation.training.build import forward_function
from resnet_degradation.training.memory import MIXED, keeps_gradients
from resnet_degradation.training.recorder import Rows
from resnet_degradation.training.state import Run, last_good


def iterate(run: Run, recorder: Rows, progress: Progress, wishes: StopAgreement) -> None:
    """The iterations that are left, with what is saved and measured between them.

    A checkpoint holds the run after an update and before anything is measured of it. So an
    evaluation that is cut short is done again, and what a run measures does not depend on where
    it was interrupted.
    """
    plan, forward = run.plan, forward_function(run)
    run.net.train()
    if run.world.is_main:
        recorder.add_images(first_images(run))
    run.clock.run()
    run.throughput.begin()
    if run.start == 0:
        record_signals(run, recorder, 0)
    else:
        measure(run, recorder, progress, wishes, run.start)
    with closing(run.batches.training(run.start, plan.num_iterations)) as batches:
        for done, (images, labels) in enumerate(batches, run.start + 1):
            if run.net.has_custom_blocks:  # which may draw at random, from torch's own generators
                torch.manual_seed(stable_seed("blocks", run.config.seed, done, run.world.rank))
            update(run, forward, images, labels, rate=run.schedule.rate(done - 1))
            progress.advance(done)

            if plan.due(done, plan.checkpoint_every):
                save(run, done)
            heed(run, progress, wishes, done)
            measure(run, recorder, progress, wishes, done)


def update(run: Run, forward: nn.Module, images: Tensor, labels: Tensor, rate: float) -> None:
    """One step of SGD on a batch; nothing in it waits for the device."""
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    mixed = MIXED.get(run.config.runtime.precision)
    with torch.autocast(run.device.type, mixed, enabled=mixed is not None):
        scores = forward(images)
        loss = F.cross_entropy(scores, labels)
    run.optimizer.zero_grad(set_to_none=not keeps_gradients(run.net))
    run.scaler.scale(loss).backward()
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.meter.update(loss, scores, labels)


def first_images(run: Run) -> Tensor:
    """Some images of the run's first batch (N, C, H, W) as the net is given them, in [0, 1]."""
    std = 1 if run.batches.std is None else run.batches.std
    return (run.probe()[0][:32] * std + run.batches.mean).clamp(0, 1)


def measure(run: Run, recorder: Rows, progress: Progress, wishes: StopAgreement, done: int) -> None:
    """What is due after `done` updates: errors, what the schedule learns from them, a row."""
    plan, schedule, meter = run.plan, run.schedule, run.meter
    rate = schedule.rate(done - 1)
    held_out: dict[str, float] = {}
    if plan.due(done, plan.eval_every) or schedule.wants_held_out_error(done):
        check_finite(run, done)
        with run.clock.excluded(), run.statistics.averaged():
            held_out = held_out_errors(
                run.net, run.batches, lambda: heed(run, progress, wishes, done), run.world
            )
    # From here on the run's state changes, so no signal is heeded.
    if schedule.wants_training_error(done):
        check_finite(run, done)
        schedule.observe_training_error(meter.read("warm-up").error)
    if done == plan.num_iterations - plan.final_window:
        meter.read("final")  # what comes from here on makes the final training error
    if schedule.wants_held_out_error(done):
        # Where there is a validation set, the test set chooses nothing.
        schedule.observe_held_out_error(held_out.get("val", held_out.get("test", math.nan)))
    record_signals(run, recorder, done)
    if plan.due(done, plan.log_every) or held_out:
        check_finite(run, done)
        seen = meter.read("row")
        seconds = run.clock.lap()
        num_images = (done - recorder.last_iteration()) * run.config.recipe.batch_size
        row = Row(
            iteration=done,
            epoch=done / plan.iterations_per_epoch,
            lr=rate,
            train_loss=seen.loss,
            train_error=seen.error,
            val_error=held_out.get("val"),
            test_error=held_out.get("test"),
            images_per_second=num_images / seconds,
            seconds=run.clock.seconds(),
        )
        recorder.add(row)
        progress.row(row)
        if (pace := run.throughput.look(seconds)) is not None:
            recorder.add_scalars(
                done, {f"data/{name}": value for name, value in pace._asdict().items()}
            )


def record_signals(run: Run, recorder: Rows, done: int) -> None:
    """What passes through the layers after `done` updates, if it is due; the run is not changed."""
    if run.plan.due(done, run.plan.signals_every):
        with run.clock.excluded():
            recorder.add_layer_stats(done, layer_stats(run.net, *run.probe()))


def heed(run: Run, progress: Progress, wishes: StopAgreement, done: int) -> None:
    """Save a run of which nothing is measured yet after `done` updates, if a signal asked for it.

    Raises Stopped, then, if it asked for the end.
    """
    wishes.refresh()
    if wishes.save_requested or wishes.stop_signal is not None:
        save(run, done)
        if wishes.save_requested:
            progress.say(f"{run.name}: saved after {done:,} iterations")
        wishes.heard.saved = wishes.stop_signal is not None
    stop_if_asked(run, wishes, done)


def stop_if_asked(run: Run, wishes: StopAgreement, done: int) -> None:
    """Raise Stopped if a signal asked for the end of a run that is saved."""
    if wishes.stop_signal is not None:
        run.world.barrier()  # rank 0 may be saving still
        raise Stopped(
            wishes.stop_signal,
            f"{run.name} stopped after {done:,} of {run.plan.num_iterations:,} iterations, all "
            "saved: the same command goes on from there",
        )


def save(run: Run, done: int) -> None:
    """Write a checkpoint after `done` updates, unless it would be no good one."""
    with run.clock.excluded():
        check_finite(run, done)
        for name, values in run.net.state_dict().items():
            if not values.isfinite().all():
                raise diverged(run, done, f"{name} is no longer finite after iteration {done:,}")
        run.save(done)


def check_finite(run: Run, done: int) -> None:
    """Raise DivergenceError if the training loss was not finite in one of `done` iterations."""
    if (finite := run.meter.count_finite()) < done:
        raise diverged(run, finite + 1, f"the loss of iteration {finite + 1:,} is not finite")


def diverged(run: Run, iteration: int, what: str) -> DivergenceError:
    """The error of a run that diverged in an iteration, counted from 1."""
    return DivergenceError(
        f"{run.name} diverged: {what}, at rate {run.schedule.rate(iteration - 1):g}. "
        f"{last_good(run)}. Lower recipe.lr, or begin gently with "
        "recipe.warmup=always"
    )
