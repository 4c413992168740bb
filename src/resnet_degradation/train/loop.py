"""One run, from its first iteration or its last checkpoint to its end."""

import math
from pathlib import Path

import torch
from torch.nn import functional as F

from resnet_degradation.config import Config, run_folder, run_name
from resnet_degradation.errors import ConfigError, DivergenceError
from resnet_degradation.evaluate import held_out_errors
from resnet_degradation.inspect.responses import layer_responses
from resnet_degradation.runs import FinalErrors, Response, Row, is_finished
from resnet_degradation.train.lock import claimed
from resnet_degradation.train.progress import View
from resnet_degradation.train.recorder import Recorder
from resnet_degradation.train.setup import (
    Run,
    describe,
    forward_function,
    prepare,
    summary,
)


def train(config: Config, progress: View) -> Path:
    """Run a settled configuration to its end and return its run folder.

    A finished run is left as it is; an interrupted one goes on from its last checkpoint as if it
    had never stopped. Raises UserError for whatever the user can mend.
    """
    folder = run_folder(config)
    if is_finished(folder):
        progress.say(f"{run_name(config)} is finished already:\n{folder}")
        return folder
    require_folder(config.output_dir)
    with claimed(folder, config.output_dir):
        carry_out(prepare(config), progress)
    return folder


def carry_out(run: Run, progress: View) -> None:
    """The iterations that are left of a run, and what is measured at its end."""
    recorder = Recorder(run.folder, run.config, run.start)
    progress.begin(run.start, run.plan.num_iterations, describe(run))
    try:
        iterate(run, recorder, progress)
        final = final_errors(run, recorder)
        recorder.finish(run.config, final, final_responses(run), summary(run, final))
    finally:
        progress.end()
        recorder.close()
    progress.say(f"{run.name}: {final} ({run.clock.seconds():.0f} s)")


def require_folder(output_dir: str) -> None:
    """Raise ConfigError, before any work is done, if there can be no folder of this name."""
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"output_dir={output_dir} cannot be used as a folder ({error.strerror}): name another"
        ) from error


def final_errors(run: Run, recorder: Recorder) -> FinalErrors:
    """The errors at the end of a run whose iterations are done."""
    seen, last = run.meter.read("final"), recorder.rows[-1]
    return FinalErrors(seen.error, last.val_error, last.test_error, seen.num_images)


def final_responses(run: Run) -> list[Response]:
    """The layer responses at the end of a run, on all images of its first held-out split."""
    split = next(iter(run.batches.splits))
    return layer_responses(run.net, (images for images, _ in run.batches.held_out(split)))


def iterate(run: Run, recorder: Recorder, progress: View) -> None:
    """The iterations that are left, with what is measured and saved between them."""
    recipe, plan, schedule, meter = run.config.recipe, run.plan, run.schedule, run.meter
    mixed_precision = run.config.runtime.precision == "bf16"
    forward = forward_function(run)
    run.net.train()
    run.clock.lap()
    batches = run.batches.training(run.start, plan.num_iterations)
    for iteration, (images, labels) in enumerate(batches, run.start):
        if iteration == run.start:
            recorder.add_images((images[:32] + run.batches.mean).clamp(0, 1))

        rate = schedule.rate(iteration)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(run.device.type, torch.bfloat16, enabled=mixed_precision):
            scores = forward(images)
            loss = F.cross_entropy(scores, labels)
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        meter.update(loss, scores, labels)

        done = iteration + 1
        progress.advance(done)
        if schedule.wants_training_error(done):
            schedule.observe_training_error(meter.read("warm-up").error)
        if done == plan.num_iterations - plan.final_window:
            meter.read("final")  # what comes from here on makes the final training error
        held_out: dict[str, float] = {}
        if plan.due(done, plan.eval_every) or schedule.wants_held_out_error(done):
            with run.clock.excluded():
                held_out = held_out_errors(run.net, run.batches)
        if schedule.wants_held_out_error(done):
            # Where there is a validation set, the test set chooses nothing.
            schedule.observe_held_out_error(held_out.get("val", held_out.get("test", math.nan)))
        if plan.due(done, plan.log_every) or held_out:
            seen = meter.read("row")
            if not math.isfinite(seen.loss):
                raise DivergenceError(
                    f"{run.name} diverged: its training loss is {seen.loss} after {done} "
                    f"iterations at rate {rate:g}. Lower recipe.lr, or begin gently with "
                    f"recipe.warmup=always. What was recorded is in {run.folder}"
                )
            num_images = (done - max(run.start, recorder.last_iteration())) * recipe.batch_size
            row = Row(
                iteration=done,
                epoch=done / plan.iterations_per_epoch,
                lr=rate,
                train_loss=seen.loss,
                train_error=seen.error,
                val_error=held_out.get("val"),
                test_error=held_out.get("test"),
                images_per_second=num_images / run.clock.lap(),
                seconds=run.clock.seconds(),
            )
            recorder.add(row)
            progress.row(row)
        if plan.due(done, plan.checkpoint_every):
            with run.clock.excluded():
                recorder.flush_to_disk()  # first, so that no checkpoint is ahead of the record
                run.save(done)
