"""Loads a run's net and images for evaluation and inspection."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from resnet_degradation.config.durations import to_iterations
from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import Config, RuntimeConfig
from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.batches import Batches
from resnet_degradation.data.build import find_images, make_batches
from resnet_degradation.data.dataset import Source, evenly_spaced_indices
from resnet_degradation.nets.build import make_net, move_to_device
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.nets.weights import assign_weights
from resnet_degradation.records.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_kept_checkpoints,
)
from resnet_degradation.records.run_folder import read_config
from resnet_degradation.system.errors import CheckpointError


@dataclass(frozen=True)
class TrainedNet:
    """A net with the weights of its run's last checkpoint, and the run's images."""

    config: Config
    folder: Path
    iteration: int
    net: ResNet
    batches: Batches


def load_run_config(folder: Path, runtime: RuntimeConfig, root: str | None = None) -> Config:
    """Load the configuration of a run, with its runtime settings replaced by `runtime`.

    root: the folder of the run's images, if they have moved.
    Raises UserError if `folder` is not a run folder.
    """
    config = read_config(folder)
    data = config.data if root is None else replace(config.data, root=root)
    # Keep the precision, which is part of the run's identity.
    runtime = replace(runtime, precision=config.runtime.precision)
    # The file of initial weights is not needed, and may no longer exist.
    resolved = resolve(
        replace(config, data=data, runtime=runtime, weights=None, weights_digest=None)
    )
    return replace(resolved, weights=config.weights, weights_digest=config.weights_digest)


def require_checkpoint(folder: Path) -> Checkpoint:
    """Load the last checkpoint of a run; raises CheckpointError if it has none."""
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        raise CheckpointError(
            f"{folder} has no checkpoint: name a run whose checkpoints were not deleted, or "
            "train it again"
        )
    return checkpoint


def make_inspection_batches(
    config: Config, source: Source, device: torch.device, report: ReportProgress = ignore_progress
) -> Batches:
    """Make batches without colour augmentation, which would first read all images."""
    config = replace(config, recipe=replace(config.recipe, colour_std=0.0))
    return make_batches(source, config, device, progress=report)


def load_trained_net(
    folder: Path,
    runtime: RuntimeConfig,
    device: torch.device,
    num_held_out: int,
    report: ReportProgress = ignore_progress,
) -> TrainedNet:
    """Load the net of a run's last checkpoint, in evaluation mode, and the run's images.

    num_held_out: the maximum number of images per held-out split; they are evenly spaced.
    Raises UserError if the run, its checkpoint or its images are missing.
    """
    config, checkpoint = load_run_config(folder, runtime), require_checkpoint(folder)
    source = find_images(config, report)
    held_out = {
        name: images.subset(evenly_spaced_indices(len(images), num_held_out))
        for name, images in source.held_out.items()
    }
    net = _restore_net(checkpoint, config, folder, len(source.classes), device)
    batches = make_inspection_batches(config, replace(source, held_out=held_out), device, report)
    return TrainedNet(config, folder, checkpoint.iteration, net, batches)


def load_kept_nets(trained: TrainedNet) -> Iterator[tuple[int, ResNet]]:
    """Load the nets of checkpoints that a run kept before its last one, oldest first.

    Yields pairs of iteration and net, in evaluation mode. `runtime.keep_every` sets which
    checkpoints a run keeps.
    """
    folder, config, batches = trained.folder, trained.config, trained.batches
    # trained.config has the runtime settings of the current command, not those of the run.
    keep_every = read_config(folder).runtime.keep_every
    if keep_every is None:
        return
    size, key = config.recipe.batch_size, "runtime.keep_every"
    device = next(trained.net.parameters()).device
    for checkpoint in load_kept_checkpoints(
        folder, to_iterations(keep_every, batches.num_train, size, key)
    ):
        if checkpoint.iteration < trained.iteration:
            net = _restore_net(checkpoint, config, folder, batches.num_classes, device)
            yield checkpoint.iteration, net


def load_net(folder: Path) -> ResNet:
    """Load only the net of a run's last checkpoint, in evaluation mode, on the CPU.

    Raises UserError if the run or its checkpoint is missing.
    """
    config, checkpoint = read_config(folder), require_checkpoint(folder)
    num_classes = len(checkpoint.parts["net"]["fc.bias"])
    return _restore_net(checkpoint, config, folder, num_classes, torch.device("cpu"))


def _restore_net(
    checkpoint: Checkpoint, config: Config, folder: Path, num_classes: int, device: torch.device
) -> ResNet:
    net = make_net(config, num_classes, initialized=False)
    assign_weights(net, checkpoint.parts["net"], f"the checkpoint of {folder}")
    return move_to_device(net, device).eval()
