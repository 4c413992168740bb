"""Builds a run (data, net, optimizer, schedule) and restores its last checkpoint."""

import warnings
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from resnet_degradation.config.identity import flat_identity, run_folder, run_name
from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.build import find_images, make_batches
from resnet_degradation.data.dataset import Source
from resnet_degradation.distributed.running_statistics import RunningStatistics
from resnet_degradation.distributed.world import SINGLE_PROCESS, World
from resnet_degradation.nets.activation_checkpointing import run_checkpointed
from resnet_degradation.nets.build import make_net, move_to_device
from resnet_degradation.nets.cost import layer_costs
from resnet_degradation.nets.sync_batchnorm import convert_sync_batchnorm
from resnet_degradation.nets.weights import load_weights
from resnet_degradation.records.checkpoint import load_checkpoint
from resnet_degradation.system.apple_gpu import MPS
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.system.process import num_cpus
from resnet_degradation.training.extend_run import initialize_from_shallow
from resnet_degradation.training.memory import (
    keep_freed_memory,
    set_activation_checkpointing,
)
from resnet_degradation.training.meters import Meter, ThroughputMonitor
from resnet_degradation.training.schedule import Schedule, make_plan
from resnet_degradation.training.sgd import SGD
from resnet_degradation.training.state import Run
from resnet_degradation.training.torch_settings import set_arithmetic


def prepare(
    config: Config,
    world: World = SINGLE_PROCESS,
    report: ReportProgress = ignore_progress,
    source: Source | None = None,
) -> Run:
    """Build the run of a resolved configuration, and restore its last checkpoint if it has one.

    Rank 0 reads the checkpoint for all processes. `report` shows the progress of slow steps.
    source: images to use instead of those that the configuration names.
    Raises UserError if images, checkpoints or devices are missing or unusable.
    """
    recipe = config.recipe
    device = choose_device(config, world)
    check_step_capture(config, device, world)
    set_arithmetic(config.runtime.precision)
    if source is None:
        # Only one process on each machine downloads.
        source = world.local_rank_zero_first(lambda: find_images(config, report))
    batches = make_batches(source, config, device, world, report)
    plan = make_plan(config, batches.num_train, sum(batches.splits.values()))
    net = move_to_device(make_net(config, batches.num_classes), device)
    normalization = "torch's"
    if config.runtime.sync_batchnorm and world.size > 1:
        convert_sync_batchnorm(net, device)
        normalization = "synchronized"
    costs = layer_costs(net, config.data.image_size)
    set_activation_checkpointing(net, costs, config, world)
    keep_freed_memory()
    fused = device.type != MPS  # some versions of torch lack fused SGD for Apple GPUs
    run = Run(
        config=config,
        name=run_name(config),
        folder=run_folder(config),
        device=device,
        world=world,
        batches=batches,
        classes=source.classes,
        skipped=source.skipped,
        plan=plan,
        net=net,
        statistics=RunningStatistics(net, world),
        multiply_adds=sum(cost.multiply_adds for cost in costs),
        optimizer=SGD(
            net.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=fused,
        ),
        scaler=torch.amp.GradScaler(device.type, enabled=config.runtime.precision == "fp16"),
        schedule=Schedule(recipe, plan.num_iterations, batches.num_train),
        meter=Meter(device, ("row", "warm-up", "final"), world),
        throughput=ThroughputMonitor(
            run_name(config), batches.decode_stats, config.runtime.num_workers
        ),
        identity=flat_identity(config) | source.describe_contents(),
        environment={
            "the version of torch": str(torch.__version__),
            "the device": device.type,
            "the number of threads": torch.get_num_threads(),
            "the number of processes": world.size,
            "batch normalization": normalization,
            "runtime.compile": config.runtime.compile.replace("auto", "none"),
        },
    )
    if run.scaler.is_enabled() and recipe.momentum > 0:
        initialize_momentum(run.optimizer)
    if (checkpoint := world.broadcast(lambda: load_checkpoint(run.folder))) is not None:
        run.restore(checkpoint)
        for group in run.optimizer.param_groups:  # the checkpoint may be from another device
            group["fused"] = fused
    elif config.weights is not None:
        run.weights_layout = load_weights(net, Path(config.weights))
    elif config.extends is not None:
        num_batches = max(1, round(plan.iterations_per_epoch))
        run.extension = initialize_from_shallow(config, net, batches, num_batches, world, report)
    return run


def initialize_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Set every parameter's momentum buffer to zero. This does not change the first step.

    Otherwise fused SGD allocates the buffer in the first step, and leaves it uninitialized if the
    scaler skips that step, as it does while the scale is too large.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def choose_device(config: Config, world: World = SINGLE_PROCESS) -> torch.device:
    """Choose the device of this process, and set its number of CPU threads.

    runtime.device=auto chooses a CUDA device if there is one, otherwise the CPU. It never chooses
    an Apple GPU, because nothing was tested on one.
    """
    requested = config.runtime.device
    if requested == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "runtime.device=cuda, but torch finds no CUDA device here: use runtime.device=cpu, or "
            "check the driver and that torch is a CUDA build"
        )
    if requested == MPS and not torch.backends.mps.is_available():
        raise ConfigError(
            "runtime.device=mps, but torch finds no Apple GPU here: use runtime.device=cpu, or auto"
        )
    if config.runtime.num_threads > 0:
        torch.set_num_threads(config.runtime.num_threads)
    elif world.size > 1:
        torch.set_num_threads(max(1, num_cpus() // world.local_size))
    if requested in ("cpu", MPS) or not torch.cuda.is_available():
        return torch.device(MPS if requested == MPS else "cpu")
    if world.size == 1:
        return torch.device("cuda")
    num_gpus = torch.cuda.device_count()
    if num_gpus > 1 and world.local_rank >= num_gpus:
        raise ConfigError(
            f"{world.local_size} processes on a machine with {num_gpus} GPUs: start one per GPU, "
            "or set runtime.device=cpu"
        )
    # Slurm may show each process only its own GPU.
    device = torch.device("cuda", world.local_rank % num_gpus)
    torch.cuda.set_device(device)
    return device


def check_step_capture(config: Config, device: torch.device, world: World) -> None:
    """Raise ConfigError if runtime.compile=step cannot be used for this run."""
    reasons = {
        "needs a CUDA GPU": device.type != "cuda",
        "supports only one process: set runtime.devices=1": world.size > 1,
        "needs images in memory, but recipe.augmentation=scale-jitter reads them from files": (
            config.recipe.augmentation == "scale-jitter"
        ),
        "cannot scale the loss: set runtime.precision=bf16, tf32 or fp32": (
            config.runtime.precision == "fp16"
        ),
        "cannot capture custom blocks, whose code may differ from step to step: omit block": bool(
            config.block
        ),
    }
    for reason, applies in reasons.items():
        if applies and config.runtime.compile == "step":
            raise ConfigError(
                f"runtime.compile=step {reason}. Or use runtime.compile=none, or graphs"
            )


def wrap_for_training(run: Run) -> nn.Module:
    """Compile a run's net if configured, and wrap it to average gradients over processes."""
    # "reduce-overhead" is torch's name for CUDA graphs.
    modes = {"net": None, "graphs": "reduce-overhead"}
    net: nn.Module = run.net
    if (compile_setting := run.config.runtime.compile) in modes:
        torch.compiler.reset()  # otherwise torch compiles only the first eight nets
        # The compiler does not support the autograd function of run_checkpointed. Exclude it here,
        # because a decorator at its definition would load the compiler (a second) in every run.
        run.net.run_checkpointed = torch.compiler.disable(run_checkpointed)
        net = cast(nn.Module, torch.compile(net, mode=modes[compile_setting]))
    if run.world.size == 1:
        return net
    with warnings.catch_warnings():
        # Later versions of torch rename broadcast_buffers.
        warnings.filterwarnings("ignore", ".*broadcast_buffers")
        return DistributedDataParallel(
            net,
            device_ids=[run.device] if run.device.type == "cuda" else None,
            broadcast_buffers=False,  # RunningStatistics averages them when needed
            gradient_as_bucket_view=True,
            static_graph=True,
        )
