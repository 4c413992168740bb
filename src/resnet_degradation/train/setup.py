"""Everything that a run consists of, built from its configuration or from its checkpoint."""

import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from resnet_degradation.config import (
    Config,
    data_name,
    identity_settings,
    net_name,
    run_folder,
    run_name,
)
from resnet_degradation.data import Batch, Batches, find_images, make_batches
from resnet_degradation.data.sources import Source
from resnet_degradation.data.views import Report, no_report
from resnet_degradation.distributed import ALONE, RunningStatistics, World
from resnet_degradation.errors import CheckpointError, ConfigError
from resnet_degradation.nets import ResNet, layer_costs, num_parameters
from resnet_degradation.nets.recompute import through_segments
from resnet_degradation.nets.synchronised import synchronise
from resnet_degradation.processes import num_cpus, on_cpu
from resnet_degradation.runs import COLUMNS, FinalErrors, Row, format_row, parse_row
from resnet_degradation.train.checkpoint import (
    Checkpoint,
    first_difference,
    load_checkpoint,
    other_version,
    save_checkpoint,
)
from resnet_degradation.train.clock import Clock
from resnet_degradation.train.extension import Extension, extend_shallow
from resnet_degradation.train.feed import Feed
from resnet_degradation.train.meter import Meter
from resnet_degradation.train.net import make_net
from resnet_degradation.train.plan import Plan, make_plan
from resnet_degradation.train.recorder import environment
from resnet_degradation.train.schedule import Schedule
from resnet_degradation.train.tuning import (
    keep_freed_memory,
    recompute,
    tune,
)
from resnet_degradation.weights import load_weights


@dataclass
class Run:
    """One run after `start` updates."""

    config: Config
    name: str
    folder: Path
    device: torch.device
    world: World
    batches: Batches
    classes: list[str]
    skipped: list[tuple[str, str]]  # unreadable images: the split each was in, and the reason
    plan: Plan
    net: ResNet
    statistics: RunningStatistics
    multiply_adds: int  # of one image
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # of the loss in fp16; it does nothing in other precisions
    schedule: Schedule
    meter: Meter
    clock: Clock
    feed: Feed
    start: int
    rows: list[Row]  # the record so far
    identity: dict[str, Any]  # what has to be the same to go on from a checkpoint
    begun: dict[str, Any]  # where the run was begun
    first_batch: Batch | None = None  # once it was looked at
    extension: Extension | None = None  # if it just began as a shallower net that was extended
    layout: str | None = None  # of the file whose weights it just began with

    def parts(self) -> dict[str, Any]:
        """What has a state that continuing exactly needs; the data needs only the iteration."""
        return {
            "net": self.net,
            "statistics": self.statistics,  # after those of the net, which they replace
            "optimizer": self.optimizer,
            "scaler": self.scaler,
            "schedule": self.schedule,
            "meter": self.meter,
            "clock": self.clock,
        }

    def probe(self) -> Batch:
        """This process's part of the run's first batch, to look at the net by."""
        if self.first_batch is not None:
            return self.first_batch
        with closing(self.batches.training(0, 1)) as batches:
            batch = next(batches)
        if self.plan.signals_every is not None:  # or it is not looked at again
            self.first_batch = batch
        return batch

    def save(self, done: int) -> None:
        """Write a checkpoint after `done` updates, of which nothing is measured yet."""
        with self.statistics.averaged():
            states = {name: part.state_dict() for name, part in self.parts().items()}
            rows = [format_row(row) for row in self.rows]
            if self.world.is_main:
                save_checkpoint(
                    self.folder, Checkpoint(done, self.identity, states, rows, self.begun)
                )

    def take_up(self, checkpoint: Checkpoint) -> None:
        """Be as the checkpoint's run was.

        Raises CheckpointError if it is of another run, or another version wrote it.
        """
        problem = first_difference(checkpoint.belongs_to, self.identity)
        if problem is None:
            parts = self.parts()
            if checkpoint.parts.keys() != parts.keys():  # each holds something that counts
                raise other_version(self.folder)
            try:
                for name, part in parts.items():
                    part.load_state_dict(checkpoint.parts[name])
                self.rows = [
                    parse_row(dict(zip(COLUMNS, cells, strict=True))) for cells in checkpoint.rows
                ]
            except RuntimeError as error:  # the code of a custom block was changed
                problem = str(error).strip().splitlines()[-1].strip()
            except (KeyError, TypeError, ValueError) as error:
                raise other_version(self.folder) from error
        if problem is not None:
            raise CheckpointError(
                f"the checkpoints in {self.folder} are of another run: {problem}. "
                f"Restore what was changed, or move {self.folder} away to start anew"
            )
        if difference := first_difference(checkpoint.begun, self.begun, default="unknown"):
            warnings.warn(
                f"{self.name} goes on under other conditions than it was begun under, so results "
                f"will differ a little: {difference}",
                stacklevel=2,
            )
        self.begun = checkpoint.begun
        self.start = checkpoint.iteration


def prepare(
    config: Config,
    world: World = ALONE,
    report: Report = no_report,
    source: Source | None = None,
) -> Run:
    """The run of a settled configuration, at its beginning or at its last checkpoint.

    Rank 0 of a world reads the checkpoint for all. What takes long is reported.
    source: other images than the configuration names.
    Raises UserError for images, checkpoints or devices that are not there or not usable.
    """
    recipe = config.recipe
    device = choose_device(config, world)
    tune(config.runtime.precision)
    if source is None:
        source = world.by_machine(lambda: find_images(config, report))  # one download a machine
    batches = make_batches(source, config, device, world, report)
    plan = make_plan(config, batches.num_train, sum(batches.splits.values()))
    net = make_net(config, batches.num_classes).to(device).to(memory_format=torch.channels_last)
    normalization = "torch's"
    if config.runtime.sync_batchnorm and world.size > 1:
        synchronise(net, device)
        normalization = "synchronised"
    costs = layer_costs(net, config.data.image_size)
    recompute(net, costs, config, world)
    keep_freed_memory()
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
        optimizer=torch.optim.SGD(
            net.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=True,
        ),
        scaler=torch.amp.GradScaler(device.type, enabled=config.runtime.precision == "fp16"),
        schedule=Schedule(recipe, plan.num_iterations, batches.num_train),
        meter=Meter(device, ("row", "warm-up", "final"), world),
        clock=Clock(),
        feed=Feed(run_name(config), batches.supply, config.runtime.num_workers),
        start=0,
        rows=[],
        identity=identity_settings(config) | source.contents(),
        begun={
            "the version of torch": str(torch.__version__),
            "the device": device.type,
            "the number of threads": torch.get_num_threads(),
            "the number of processes": world.size,
            "batch normalization": normalization,
        },
    )
    if (checkpoint := world.from_main(lambda: load_checkpoint(run.folder))) is not None:
        run.take_up(checkpoint)
    elif config.weights is not None:
        run.layout = load_weights(net, Path(config.weights))
    elif config.extends is not None:
        num_batches = max(1, round(plan.iterations_per_epoch))
        run.extension = extend_shallow(config, net, batches, num_batches, world, report)
    return run


def choose_device(config: Config, world: World = ALONE) -> torch.device:
    """The device of this process; also sets the number of its CPU threads."""
    wanted = config.runtime.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "runtime.device=cuda, but torch finds no CUDA device here: use runtime.device=cpu, or "
            "check the driver and that torch is a CUDA build"
        )
    if config.runtime.num_threads > 0:
        torch.set_num_threads(config.runtime.num_threads)
    elif world.size > 1:
        torch.set_num_threads(max(1, num_cpus() // world.local_size))
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if world.size == 1:
        return torch.device("cuda")
    num_gpus = torch.cuda.device_count()
    if num_gpus > 1 and world.local_rank >= num_gpus:
        raise ConfigError(
            f"{world.local_size} processes on a machine with {num_gpus} GPUs: start one a GPU, or "
            "set runtime.device=cpu"
        )
    # Slurm may show each process its own GPU only.
    device = torch.device("cuda", world.local_rank % num_gpus)
    torch.cuda.set_device(device)
    return device


def describe(run: Run) -> str:
    """What is going to be run, in a few lines."""
    config, plan, size = run.config, run.plan, run.config.data.image_size
    held_out = ", ".join(f"{count:,} {split}" for split, count in run.batches.splits.items())
    on = on_cpu(torch.get_num_threads()) if run.device.type == "cpu" else run.device.type
    if run.world.size > 1:
        on = f"{run.world.size} processes, each on {on}"
    epochs = plan.num_iterations / plan.iterations_per_epoch
    lines = [
        f"{run.name}, {config.family} family: {num_parameters(run.net):,} parameters, "
        f"{run.multiply_adds / 1e6:,.1f} M multiply-adds",
        f"{data_name(config)} {size}x{size}: {run.batches.num_train:,} train, {held_out}",
        f"{plan.num_iterations:,} iterations of {config.recipe.batch_size} "
        f"({epochs:.1f} epochs) on {on}",
        f"in {run.folder}",
    ]
    if config.weights is not None:
        lines.append(f"begun with the weights in {config.weights}")
    if run.layout is not None:
        lines.append(run.layout)
    if run.extension is not None:
        lines.append(str(run.extension))
    if run.skipped:
        lines.append(f"without {len(run.skipped):,} images that cannot be read: see skipped.csv")
    if run.start > 0:
        lines.append(f"resumed after {run.start:,} iterations")
    return "\n".join(lines)


def summary(run: Run, final: FinalErrors) -> dict[str, Any]:
    """What is known of a run at its end; errors in percent, times in seconds."""
    config, plan = run.config, run.plan
    return {
        "net": net_name(config),
        "seed": config.seed,
        "data": data_name(config),
        "num_classes": run.batches.num_classes,
        "num_train_images": run.batches.num_train,
        "num_held_out_images": run.batches.splits,
        "num_skipped_images": len(run.skipped),
        "iterations": plan.num_iterations,
        "epochs": plan.num_iterations / plan.iterations_per_epoch,
        "final_errors_percent": final.in_percent(),
        "final_train_images": final.num_train_images,
        "still_warming_up": run.schedule.state.warming_up,
        "num_parameters": num_parameters(run.net),
        "multiply_adds": run.multiply_adds,
        "seconds": run.clock.seconds(),
        "data_supply": run.feed.summary(),
        "num_processes": run.world.size,
        "batch_normalization": run.begun["batch normalization"],
        **environment(run.device),
    }


def forward_function(run: Run) -> nn.Module:
    """The net, compiled if that is asked for, its gradients averaged over all processes."""
    modes = {"net": None, "graphs": "reduce-overhead"}  # torch's name for CUDA graphs
    net: nn.Module = run.net
    if (wanted := run.config.runtime.compile) in modes:
        torch.compiler.reset()  # after eight other nets in this process it would not compile
        # It knows no functions with such a backward pass. (To say so where that is defined would
        # load the compiler, a second's work, with every run.)
        run.net.through_segments = torch.compiler.disable(through_segments)
        net = cast(nn.Module, torch.compile(net, mode=modes[wanted]))
    if run.world.size == 1:
        return net
    with warnings.catch_warnings():
        # Later versions of torch have another name for broadcast_buffers, too.
        warnings.filterwarnings("ignore", ".*broadcast_buffers")
        return DistributedDataParallel(
            net,
            device_ids=[run.device] if run.device.type == "cuda" else None,
            broadcast_buffers=False,  # running statistics are averaged when they are needed
            gradient_as_bucket_view=True,
            static_graph=True,
        )
