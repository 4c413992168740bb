"""One run, from its first iteration or its last checkpoint to its end."""

import math
from pathlib import Path

import torch
from torch.nn import functional as F

from resnet_degradation.config import Config, run_folder
from resnet_degradation.errors import DivergenceError
from resnet_degradation.evaluate import held_out_errors
from resnet_degradation.runs import Row, final_errors, is_finished
from resnet_degradation.train.progress import RunProgress
from resnet_degradation.train.recorder import Recorder
from resnet_degradation.train.setup import (
    Run,
    describe,
    forward_function,
    prepare,
    run_name,
    summary,
)


def train(config: Config, progress: RunProgress) -> Path:
    """Run a settled configuration to its end and return its run folder.

    A finished run is left as it is; an interrupted one goes on from its last checkpoint as if it
    had never stopped. Raises UserError for whatever the user can mend.
    """
    folder = run_folder(config)
    if is_finished(folder):
        progress.say(f"{run_name(config)} is finished already: {folder}")
        return folder
    run = prepare(config)
    progress.say(describe(run))
    recorder = Recorder(folder, config, run.start)
    progress.begin(run.start, run.plan.num_iterations)
    try:
        iterate(run, recorder, progress)
        final = final_errors(recorder.rows)
        recorder.finish(config, final, summary(run, final))
    finally:
        progress.end()
        recorder.close()
    progress.say(f"{run.name}: {final} after {run.clock.seconds():.0f} s")
    return folder


def iterate(run: Run, recorder: Recorder, progress: RunProgress) -> None:
    """The iterations that are left, with what is measured and saved between them."""
    recipe, plan, schedule, meter = run.config.recipe, run.plan, run.schedule, run.meter
    mixed_precision = run.config.runtime.precision == "bf16"
    forward = forward_function(run)
    run.net.train()
    batches = run.batches.training(run.start, plan.num_iterations)
    for iteration, (images, labels) in enumerate(batches, run.start):
        if iteration == 0:
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
            row = Row(
                iteration=done,
                epoch=done / plan.iterations_per_epoch,
                lr=rate,
                train_loss=seen.loss,
                train_error=seen.error,
                val_error=held_out.get("val"),
                test_error=held_out.get("test"),
                images_per_second=(done - recorder.last_iteration())
                * recipe.batch_size
                / run.clock.lap(),
                seconds=run.clock.seconds(),
            )
            recorder.add(row)
            progress.row(row)
        if plan.due(done, plan.checkpoint_every):
            with run.clock.excluded():
                run.save(done)
