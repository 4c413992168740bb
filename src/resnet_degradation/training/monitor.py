"""The work between the iterations of a run: saving, stopping, measuring and recording."""

import math
from dataclasses import dataclass, field

import torch

from resnet_degradation.console.progress import Progress
from resnet_degradation.distributed.stop_agreement import StopAgreement
from resnet_degradation.probes.errors import held_out_errors
from resnet_degradation.probes.layer_stats import measure_layer_stats
from resnet_degradation.records.metrics import Row, round_as_recorded
from resnet_degradation.records.run_folder import checkpoint_files
from resnet_degradation.system.errors import DivergenceError, Stopped
from resnet_degradation.training.recorder import Recorder
from resnet_degradation.training.slowdown import Slowdown
from resnet_degradation.training.state import Run


@dataclass(frozen=True)
class Monitor:
    """Saves, stops, measures and records a run between its iterations."""

    run: Run
    recorder: Recorder | None  # on rank 0 only
    progress: Progress
    stop: StopAgreement
    slowdown: Slowdown = field(default_factory=Slowdown)

    def begin(self) -> None:
        """Measure the initial net or, in a resumed run, what was due at the checkpoint."""
        run = self.run
        if self.recorder is not None:
            images, labels = (part[:32] for part in run.probe_batch())
            images = (images * run.batches.std + run.batches.mean).clamp(0, 1)
            self.recorder.add_images(images, [run.classes[label] for label in labels.tolist()])
        run.clock.start()
        run.throughput.begin()
        if run.start == 0:
            self._record_layer_stats(0)
        else:
            self.measure(run.start)

    def save(self, iteration: int) -> None:
        """Write a checkpoint, or raise DivergenceError if the loss or a weight is not finite."""
        with self.run.clock.paused():
            self._check_loss(iteration)
            for name, values in self.run.net.state_dict().items():
                if not values.isfinite().all():
                    problem = f"{name} is no longer finite after iteration {iteration:,}"
                    raise self._make_divergence_error(iteration, problem)
            self.run.save(iteration)

    def poll_signals(self, iteration: int) -> None:
        """Save the run if a signal requested it; raise Stopped if one requested a stop.

        Call this before the measurements after `iteration` change the run's state.
        """
        stop = self.stop
        stop.refresh()
        if stop.save_requested or stop.stop_signal is not None:
            self.save(iteration)
            if stop.save_requested:
                self.progress.say(f"{self.run.name}: saved after {iteration:,} iterations")
            stop.request.saved = stop.stop_signal is not None
        self.raise_if_stopped(iteration)

    def raise_if_stopped(self, iteration: int) -> None:
        """Raise Stopped if a signal requested a stop. The run must already be saved."""
        if self.stop.stop_signal is not None:
            self.run.world.barrier()  # rank 0 may still be saving
            raise Stopped(
                self.stop.stop_signal,
                f"{self.run.name} stopped after {iteration:,} of "
                f"{self.run.plan.num_iterations:,} iterations, all saved: the same command "
                "resumes it",
            )

    def measure(self, iteration: int) -> None:
        """Do what is due after an iteration: evaluate, inform the schedule, record a row."""
        run, plan, schedule = self.run, self.run.plan, self.run.schedule
        lr = schedule.lr(iteration - 1)
        held_out: dict[str, float] = {}
        if plan.is_due(iteration, plan.eval_every) or schedule.wants_held_out_error(iteration):
            self._check_loss(iteration)
            with run.clock.paused(), run.statistics.averaged():
                held_out = held_out_errors(
                    run.net, run.batches, lambda: self.poll_signals(iteration), run.world
                )
        # From here on the run's state changes, so signals wait for the next iteration.
        if schedule.wants_training_error(iteration):
            self._check_loss(iteration)
            schedule.observe_training_error(run.meter.read("warm-up").error)
        if iteration == plan.num_iterations - plan.final_window:
            run.meter.read("final")  # the final training error starts at the next iteration
        if schedule.wants_held_out_error(iteration):
            # If there is a validation set, the test set must not influence training.
            schedule.observe_held_out_error(held_out.get("val", held_out.get("test", math.nan)))
        self._record_layer_stats(iteration)
        if plan.is_due(iteration, plan.log_every) or held_out:
            self._check_loss(iteration)
            self._record_row(iteration, lr, held_out)

    def _record_row(self, iteration: int, lr: float, held_out: dict[str, float]) -> None:
        """Record the training error since the last row, and `held_out` errors, in percent."""
        run = self.run
        training = run.meter.read("row")
        seconds = run.clock.lap()
        last_iteration = run.rows[-1].iteration if run.rows else 0
        num_images = (iteration - last_iteration) * run.config.recipe.batch_size
        row = Row(
            iteration=iteration,
            epoch=iteration / run.plan.iterations_per_epoch,
            lr=lr,
            train_loss=training.loss,
            train_error=training.error,
            val_error=held_out.get("val"),
            test_error=held_out.get("test"),
            images_per_second=num_images / seconds,
            seconds=run.clock.seconds(),
        )
        # Round the row as the file does, because a resumed run reads rounded rows.
        run.rows.append(round_as_recorded(row))
        self.progress.show_row(row)
        is_single_cpu_process = run.device.type == "cpu" and run.world.size == 1
        num_threads = torch.get_num_threads() if is_single_cpu_process else 0
        own_load = num_threads + (
            0 if run.batches.decode_stats is None else run.throughput.num_workers
        )
        note = self.slowdown.update(row.images_per_second, seconds, num_threads, own_load)
        if note is not None:
            self.progress.advise(f"{run.name}: {note}")
        throughput = run.throughput.measure_recent(seconds)
        if self.recorder is not None:
            self.recorder.add_row(run.rows[-1])
            if throughput is not None:
                speeds = {f"data/{name}": value for name, value in throughput._asdict().items()}
                self.recorder.add_scalars(iteration, speeds)

    def _record_layer_stats(self, iteration: int) -> None:
        """Record the statistics of every layer if they are due. The run's state does not change."""
        if self.run.plan.is_due(iteration, self.run.plan.signals_every):
            with self.run.clock.paused():
                stats = measure_layer_stats(self.run.net, *self.run.probe_batch(), iteration)
                if self.recorder is not None:
                    self.recorder.add_layer_stats(iteration, stats)

    def _check_loss(self, iteration: int) -> None:
        """Raise DivergenceError if a training loss up to this iteration was not finite."""
        if (num_finite := self.run.meter.count_finite_iterations()) < iteration:
            problem = f"the loss of iteration {num_finite + 1:,} is not finite"
            raise self._make_divergence_error(num_finite + 1, problem)

    def _make_divergence_error(self, iteration: int, problem: str) -> DivergenceError:
        """Make the error of a run that diverged in `iteration`, counted from 1."""
        lr = self.run.schedule.lr(iteration - 1)
        return DivergenceError(
            f"{self.run.name} diverged: {problem}, at learning rate {lr:g}. "
            f"{describe_last_checkpoint(self.run)}. Lower recipe.lr, or start slowly with "
            "recipe.warmup=always"
        )


def describe_last_checkpoint(run: Run) -> str:
    """Name the checkpoint from which the run can resume, in a sentence."""
    files = checkpoint_files(run.folder)
    if not files:
        return "It has no checkpoint yet"
    return f"Its last good checkpoint is {files[0].name}, in {run.folder}"
