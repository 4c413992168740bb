"""Loads the net of a run, with the run's images, for evaluation and inspection."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import Config, RuntimeConfig
from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.batches import Batches
from resnet_degradation.data.build import find_images, make_batches
from resnet_degradation.data.dataset import Source, evenly_spaced
from resnet_degradation.nets.build import make_net
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.nets.weights import assign
from resnet_degradation.records.checkpoint import Checkpoint, load_checkpoint
from resnet_degradation.records.run_folder import read_config
from resnet_degradation.system.errors import CheckpointError


@dataclass(frozen=True)
class Trained:
    """A net with the weights of its run's last checkpoint, and the run's images."""

    config: Config
    folder: Path
    iteration: int
    net: ResNet
    batches: Batches


def config_of_run(folder: Path, runtime: RuntimeConfig, root: str | None = None) -> Config:
    """The configuration of a run, with `runtime` in place of its own.

    root: the folder of the run's images, if they have moved.
    Raises UserError if `folder` is not a run folder.
    """
    config = read_config(folder)
    data = config.data if root is None else replace(config.data, root=root)
    # The precision belongs to the run's identity.
    runtime = replace(runtime, precision=config.runtime.precision)
    # The file of the run's initial weights is not needed and may no longer exist.
    resolved = resolve(
        replace(config, data=data, runtime=runtime, weights=None, weights_digest=None)
    )
    return replace(resolved, weights=config.weights, weights_digest=config.weights_digest)


def last_state(folder: Path) -> Checkpoint:
    """The last checkpoint of a run; raises CheckpointError if it has none."""
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        raise CheckpointError(
            f"{folder} has no checkpoint: name a run whose checkpoints were not deleted, or "
            "train it again"
        )
    return checkpoint


def inspection_batches(
    config: Config, source: Source, device: torch.device, report: ReportProgress = ignore_progress
) -> Batches:
    """A run's images, without colour augmentation, which needs a pass over all of them."""
    plain = replace(config, recipe=replace(config.recipe, colour_std=0.0))
    return make_batches(source, plain, device, progress=report)


def load_trained(
    folder: Path,
    runtime: RuntimeConfig,
    device: torch.device,
    num_held_out: int,
    report: ReportProgress = ignore_progress,
) -> Trained:
    """The net of a run at its last checkpoint, in evaluation mode.

    num_held_out: at most this many images of each held-out split are used, evenly spaced.
    Raises UserError if the run, its checkpoint or its images are missing.
    """
    config, checkpoint = config_of_run(folder, runtime), last_state(folder)
    source = find_images(config, report)
    held_out = {
        name: images.subset(evenly_spaced(len(images), num_held_out))
        for name, images in source.held_out.items()
    }
    net = make_net(config, len(source.classes), initialized=False)
    assign(net, checkpoint.parts["net"], f"the checkpoint of {folder}")
    net.to(device).to(memory_format=torch.channels_last).eval()
    batches = inspection_batches(config, replace(source, held_out=held_out), device, report)
    return Trained(config, folder, checkpoint.iteration, net, batches)
