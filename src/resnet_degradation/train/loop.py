"""One run, from its first iteration or its last checkpoint to its end."""

import math
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from resnet_degradation.config import Config, net_name, run_folder
from resnet_degradation.data import Batches, load_batches
from resnet_degradation.errors import ConfigError, DivergenceError
from resnet_degradation.evaluate import held_out_errors
from resnet_degradation.families import Family
from resnet_degradation.nets import ResNet, build_net, initialise, multiply_adds, num_parameters
from resnet_degradation.nets.blocks import BottleneckStride, Shortcut
from resnet_degradation.runs import Row, final_errors, is_finished
from resnet_degradation.train.checkpoint import load_checkpoint, save_checkpoint
from resnet_degradation.train.clock import Clock
from resnet_degradation.train.meter import Meter
from resnet_degradation.train.plan import Plan, make_plan
from resnet_degradation.train.progress import RunProgress
from resnet_degradation.train.recorder import Recorder, environment
from resnet_degradation.train.schedule import Schedule


def train(config: Config, progress: RunProgress) -> Path:
    """Run a settled configuration to its end and return its run folder.

    A finished run is left as it is; an interrupted one goes on from its last checkpoint as if it
    had never stopped. Raises UserError for whatever the user can mend.
    """
    folder, name = run_folder(config), f"{net_name(config)} seed {config.seed}"
    if is_finished(folder):
        progress.say(f"{name} is finished already: {folder}")
        return folder

    recipe, runtime = config.recipe, config.runtime
    device = choose_device(config)
    batches = load_batches(config, device)
    plan = make_plan(config, batches.num_train)
    net = make_net(config, batches.num_classes).to(device, memory_format=torch.channels_last)
    forward = torch.compile(net) if runtime.compile else net
    optimizer = torch.optim.SGD(
        net.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )
    schedule = Schedule(recipe, plan.num_iterations, batches.num_train)
    meter = Meter(device, readers=("row", "warm-up"))

    # Everything that continuing exactly needs; the data needs only the iteration.
    parts: dict[str, Any] = {
        "net": net,
        "optimizer": optimizer,
        "schedule": schedule,
        "meter": meter,
    }
    checkpoint = load_checkpoint(folder)
    for key, part in parts.items() if checkpoint else ():
        part.load_state_dict(checkpoint[key])
    start = checkpoint["iteration"] if checkpoint else 0
    clock = Clock(checkpoint["seconds"] if checkpoint else 0)
    recorder = Recorder(folder, config, start)
    describe(progress, config, net, batches, plan, device)
    if start > 0:
        progress.say(f"resumed after {start:,} iterations")

    progress.begin(name, start, plan.num_iterations)
    try:
        net.train()
        for iteration, (images, labels) in enumerate(
            batches.training(start, plan.num_iterations), start
        ):
            if iteration == 0:
                recorder.add_images((images[:32] + batches.mean).clamp(0, 1))
            rate = schedule.rate(iteration)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(device.type, torch.bfloat16, enabled=runtime.precision == "bf16"):
                scores = forward(images)
                loss = F.cross_entropy(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meter.update(loss, scores, labels)

            done = iteration + 1
            progress.advance(done)
            if schedule.wants_training_error(done):
                schedule.observe_training_error(meter.read("warm-up")[1])
            errors: dict[str, float] = {}
            if plan.due(done, plan.eval_every) or schedule.wants_held_out_error(done):
                with clock.excluded():
                    errors = held_out_errors(net, batches)
            if schedule.wants_held_out_error(done):
                # Of data with both, the first is the validation set: the test set chooses nothing.
                schedule.observe_held_out_error(errors[sorted(errors)[-1]])
            if plan.due(done, plan.log_every) or errors:
                loss_mean, error = meter.read("row")
                require_finite(loss_mean, name, done, rate, folder)
                num_images = (done - recorder.last_iteration()) * recipe.batch_size
                row = Row(
                    iteration=done,
                    epoch=done / plan.iterations_per_epoch,
                    lr=rate,
                    train_loss=loss_mean,
                    train_error=error,
                    val_error=errors.get("val"),
                    test_error=errors.get("test"),
                    images_per_second=num_images / clock.lap(),
                    seconds=clock.seconds(),
                )
                recorder.add(row)
                progress.row(row)
            if plan.due(done, plan.checkpoint_every):
                with clock.excluded():
                    states = {key: part.state_dict() for key, part in parts.items()}
                    save_checkpoint(folder, done, {**states, "seconds": clock.seconds()})

        final = final_errors(recorder.rows)
        recorder.finish(
            config,
            final,
            {
                "net": net_name(config),
                "seed": config.seed,
                "data": config.data.name,
                "num_train_images": batches.num_train,
                "num_held_out_images": batches.splits,
                "iterations": plan.num_iterations,
                "epochs": plan.num_iterations / plan.iterations_per_epoch,
                "final_errors_percent": vars(final),
                "num_parameters": num_parameters(net),
                "multiply_adds": multiply_adds(net, config.data.image_size),
                "seconds": clock.seconds(),
                **environment(device),
            },
        )
    finally:
        progress.end()
        recorder.close()
    progress.say(f"{name}: {describe_errors(final)} after {clock.seconds():.0f} s")
    return folder


def choose_device(config: Config) -> torch.device:
    """The device of a run on one device; also sets the number of CPU threads if one is given."""
    wanted = config.runtime.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "runtime.device=cuda, but torch finds no CUDA device here: use runtime.device=cpu, or "
            "check the driver and that torch is a CUDA build"
        )
    if config.runtime.num_threads > 0:
        torch.set_num_threads(config.runtime.num_threads)
    use_cuda = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_cuda else "cpu")


def make_net(config: Config, num_classes: int) -> ResNet:
    """The initialised net of a settled configuration."""
    net = build_net(
        config.depth,
        config.residual,
        family=cast(Family, config.family),
        shortcut=cast(Shortcut, config.shortcut or "A"),
        num_classes=num_classes,
        width=config.width,
        bottleneck_stride=cast(BottleneckStride, config.bottleneck_stride),
    )
    initialise(net, config.seed)
    return net


def require_finite(loss: float, name: str, done: int, rate: float, folder: Path) -> None:
    """Raise DivergenceError if the mean training loss is no longer a number."""
    if not math.isfinite(loss):
        raise DivergenceError(
            f"{name} diverged: its training loss is {loss} after {done} iterations at rate "
            f"{rate:g}. Lower recipe.lr or begin gently with recipe.warmup=always. "
            f"What was recorded is in {folder}"
        )


def describe(
    progress: RunProgress,
    config: Config,
    net: nn.Module,
    batches: Batches,
    plan: Plan,
    device: torch.device,
) -> None:
    """Say what is going to be run, before it is."""
    size, recipe = config.data.image_size, config.recipe
    held_out = ", ".join(f"{count:,} {split}" for split, count in batches.splits.items())
    where = f"cpu, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
    progress.say(
        f"{net_name(config)} ({config.family} family): {num_parameters(net):,} parameters, "
        f"{multiply_adds(net, size) / 1e6:,.1f} M multiply-adds"
    )
    progress.say(f"{config.data.name} {size}x{size}: {batches.num_train:,} train, {held_out}")
    progress.say(
        f"{plan.num_iterations:,} iterations of {recipe.batch_size} "
        f"({plan.num_iterations / plan.iterations_per_epoch:.1f} epochs) on {where}"
    )
    progress.say(f"in {run_folder(config)}")


def describe_errors(final: Any) -> str:
    """Final errors in words."""
    parts = [f"training error {final.train_error:.2f} %"]
    for split, label in (("val", "validation"), ("test", "test")):
        if (error := getattr(final, f"{split}_error")) is not None:
            parts.append(f"{label} error {error:.2f} %")
    return ", ".join(parts)
