"""What is measured between iterations: errors, layer statistics, and the rows of the record."""

import math

from resnet_degradation.console.progress import Progress
from resnet_degradation.distributed.stop_agreement import StopAgreement
from resnet_degradation.probes.errors import held_out_errors
from resnet_degradation.probes.layer_stats import layer_stats
from resnet_degradation.records.metrics import Row, as_recorded
from resnet_degradation.training.recorder import Recorder
from resnet_degradation.training.saving import check_finite, poll_signals
from resnet_degradation.training.state import Run


def measure_start(
    run: Run, recorder: Recorder | None, progress: Progress, stop: StopAgreement
) -> None:
    """Measure what was due when the run was saved, or the net before its first iteration."""
    if recorder is not None:
        images = run.probe()[0][:32] * run.batches.std + run.batches.mean
        recorder.add_images(images.clamp(0, 1))
    run.clock.run()
    run.throughput.begin()
    if run.start == 0:
        record_layer_stats(run, recorder, 0)
    else:
        measure(run, recorder, progress, stop, run.start)


def measure(
    run: Run, recorder: Recorder | None, progress: Progress, stop: StopAgreement, iteration: int
) -> None:
    """Whatever is due after an iteration: evaluate, inform the schedule, record a row."""
    plan, schedule, meter = run.plan, run.schedule, run.meter
    lr = schedule.lr(iteration - 1)
    held_out: dict[str, float] = {}

    def between_batches() -> None:
        poll_signals(run, progress, stop, iteration)

    if plan.is_due(iteration, plan.eval_every) or schedule.wants_held_out_error(iteration):
        check_finite(run, iteration)
        with run.clock.excluded(), run.statistics.averaged():
            held_out = held_out_errors(run.net, run.batches, between_batches, run.world)
    # From here on the run's state changes, so signals wait for the next iteration.
    if schedule.wants_training_error(iteration):
        check_finite(run, iteration)
        schedule.observe_training_error(meter.read("warm-up").error)
    if iteration == plan.num_iterations - plan.final_window:
        meter.read("final")  # the final training error counts from the next iteration
    if schedule.wants_held_out_error(iteration):
        # Where there is a validation set, the test set must not influence training.
        schedule.observe_held_out_error(held_out.get("val", held_out.get("test", math.nan)))
    record_layer_stats(run, recorder, iteration)
    if plan.is_due(iteration, plan.log_every) or held_out:
        check_finite(run, iteration)
        record_row(run, recorder, progress, iteration, lr, held_out)


def record_row(
    run: Run,
    recorder: Recorder | None,
    progress: Progress,
    iteration: int,
    lr: float,
    held_out: dict[str, float],
) -> None:
    """Append a row: the training error since the last one, and these held-out errors (percent)."""
    seen = run.meter.read("row")
    seconds = run.clock.lap()
    last = run.rows[-1].iteration if run.rows else 0
    row = Row(
        iteration=iteration,
        epoch=iteration / run.plan.iterations_per_epoch,
        lr=lr,
        train_loss=seen.loss,
        train_error=seen.error,
        val_error=held_out.get("val"),
        test_error=held_out.get("test"),
        images_per_second=(iteration - last) * run.config.recipe.batch_size / seconds,
        seconds=run.clock.seconds(),
    )
    # A resumed run reads its rows back with the precision of the file.
    run.rows.append(as_recorded(row))
    progress.row(row)
    throughput = run.throughput.since_last(seconds)
    if recorder is not None:
        recorder.add(run.rows[-1])
        if throughput is not None:
            recorder.add_scalars(
                iteration, {f"data/{name}": value for name, value in throughput._asdict().items()}
            )


def record_layer_stats(run: Run, recorder: Recorder | None, iteration: int) -> None:
    """Record the statistics of every layer if they are due. The run does not change."""
    if run.plan.is_due(iteration, run.plan.signals_every):
        with run.clock.excluded():
            stats = layer_stats(run.net, *run.probe(), iteration)
            if recorder is not None:
                recorder.add_layer_stats(iteration, stats)
