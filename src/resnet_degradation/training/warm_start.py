"""Starts a deep plain net from a trained shallower one: the added layers are identities.

The paper (section 1) argues from this construction that a deeper net need not train worse.
"""

from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import torch

from resnet_degradation.config.architectures import Family
from resnet_degradation.config.identity import net_name, run_folder, shallow_config
from resnet_degradation.config.resolve import default_warmup
from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import ReportProgress
from resnet_degradation.data.batches import Batches
from resnet_degradation.distributed.world import World
from resnet_degradation.nets.build import make_net, on_device
from resnet_degradation.nets.identity_extension import extend
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.probes.errors import held_out_errors
from resnet_degradation.records.checkpoint import load_checkpoint
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.errors import CheckpointError

# At most this many batches measure the statistics of the added layers and compare both nets.
MAX_BATCHES = 100


@dataclass(frozen=True)
class NetErrors:
    """Errors of a net in evaluation mode, in percent."""

    train_error: float
    held_out_errors: dict[str, float]


@dataclass(frozen=True)
class Extension:
    """A shallow net and its extension, compared before the deep net is trained."""

    shallow_net: str
    deep_net: str
    shallow: NetErrors
    deep: NetErrors
    largest_difference: float  # between the logits of both nets
    largest_score: float  # largest absolute logit of the shallow net
    num_train_images: int

    def __str__(self) -> str:
        return (
            f"{self.deep_net} starts from the trained {self.shallow_net}: training error "
            f"{self.deep.train_error:.2f} % ({self.shallow_net}: {self.shallow.train_error:.2f} %) "
            f"on {self.num_train_images:,} images, logits that differ by at most "
            f"{self.largest_difference:.1e} (the largest is {self.largest_score:.1f})"
        )


def extend_shallow(
    config: Config,
    deep: ResNet,
    batches: Batches,
    num_batches: int,
    world: World,
    report: ReportProgress,
) -> Extension:
    """Initialize a run's net from the shallower one that its configuration names.

    num_batches: batches per epoch. Raises CheckpointError if the shallower net is not trained yet.
    """
    num_batches = min(num_batches, MAX_BATCHES)
    shallower = shallow_config(config)
    state = world.broadcast(lambda: _trained_weights(config, shallower))
    shallow = make_net(shallower, batches.num_classes, initialized=False)
    shallow.load_state_dict(state)
    on_device(shallow, next(deep.parameters()).device)
    with closing(batches.training(0, num_batches)) as training:
        extend(shallow, deep, (images for images, _ in training))
    # Each process measured the statistics of its own part of the batches: use those of rank 0.
    deep.load_state_dict(
        world.broadcast(lambda: {k: v.cpu() for k, v in deep.state_dict().items()})
    )
    names = (net_name(shallower), net_name(config))
    return _compare(names, (shallow, deep), batches, num_batches, world, report)


def _trained_weights(config: Config, shallow: Config) -> dict[str, Any]:
    folder = run_folder(shallow)
    checkpoint = load_checkpoint(folder) if is_finished(folder) else None
    if checkpoint is None:
        warmup = shallow.recipe.warmup
        default = default_warmup(shallow.depth, cast(Family, shallow.family))
        # A deep net with a warm-up starts from a shallow one with a warm-up.
        override = "" if warmup == default else f" recipe.warmup={warmup}"
        study = "" if override else " (resnet-study study=constructed does both)"
        raise CheckpointError(
            f"{net_name(config)} starts from the finished run {folder}, which is missing or "
            f"has no checkpoint: first run the same command with depth={shallow.depth}{override} "
            f"and without extends{study}; if only the checkpoint is missing, delete that folder's "
            "summary.json first"
        )
    net: dict[str, Any] = checkpoint.parts["net"]
    return net


@torch.no_grad()
def _compare(
    names: tuple[str, str],
    nets: tuple[ResNet, ResNet],
    batches: Batches,
    num_batches: int,
    world: World,
    report: ReportProgress,
) -> Extension:
    """Compare both nets in evaluation mode on the same images; leave them in training mode."""
    wrong, num_images, difference, largest = [0, 0], 0, 0.0, 0.0
    for net in nets:
        net.eval()
    with closing(batches.training(0, num_batches)) as training:
        for number, (images, labels) in enumerate(training, 1):
            logits = [net(images) for net in nets]
            for i, net_logits in enumerate(logits):
                wrong[i] += int((net_logits.argmax(dim=1) != labels).sum())
            num_images += len(labels)
            difference = max(difference, float((logits[0] - logits[1]).abs().max()))
            largest = max(largest, float(logits[0].abs().max()))
            report("comparing with the shallower net", number, num_batches)
    *wrong, num_images = world.all_reduce_sum(torch.tensor([*wrong, num_images])).tolist()
    difference, largest = (-world.all_reduce_min(torch.tensor([-difference, -largest]))).tolist()
    errors = [
        NetErrors(100 * wrong[i] / num_images, held_out_errors(net, batches, world=world))
        for i, net in enumerate(nets)
    ]
    for net in nets:
        net.train()
    return Extension(*names, errors[0], errors[1], difference, largest, num_images)
