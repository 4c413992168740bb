"""Extends a run: starts a deep plain net from a trained shallower net plus identity layers.

The paper (section 1) uses this construction to argue that a deeper net need not train worse.
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
from resnet_degradation.nets.build import make_net, move_to_device
from resnet_degradation.nets.identity_extension import extend
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.probes.errors import held_out_errors
from resnet_degradation.records.checkpoint import load_checkpoint
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.errors import CheckpointError

# Maximum number of batches to estimate the added layers' statistics, and to compare both nets.
MAX_BATCHES = 100


@dataclass(frozen=True)
class NetErrors:
    """Errors of a net in evaluation mode, in percent."""

    train_error: float
    held_out_errors: dict[str, float]


@dataclass(frozen=True)
class Extension:
    """Compares a shallow net with its deep extension, before the deep net is trained.

    The fields are the keys of extension.json.
    """

    shallow_net: str
    deep_net: str
    shallow: NetErrors
    deep: NetErrors
    largest_difference: float  # largest absolute difference between the two nets' logits
    largest_score: float  # largest absolute logit of the shallow net
    num_train_images: int  # images used for the training errors and the logits

    def __str__(self) -> str:
        return (
            f"{self.deep_net} starts from the trained {self.shallow_net}: training error "
            f"{self.deep.train_error:.2f} % ({self.shallow_net}: {self.shallow.train_error:.2f} %) "
            f"on {self.num_train_images:,} images, logits that differ by at most "
            f"{self.largest_difference:.1e} (largest absolute logit of the shallower net: "
            f"{self.largest_score:.1f})"
        )


def initialize_from_shallow(
    config: Config,
    deep: ResNet,
    batches: Batches,
    num_batches: int,
    world: World,
    report: ReportProgress,
) -> Extension:
    """Initialize a run's net, `deep`, from the shallower run that its configuration names.

    num_batches: batches per epoch. Returns the errors of both nets on the same images. Raises
    CheckpointError if the shallower run is not finished or has no valid checkpoint.
    """
    num_batches = min(num_batches, MAX_BATCHES)
    shallower = shallow_config(config)
    state = world.broadcast(lambda: _load_shallow_weights(config, shallower))
    shallow = make_net(shallower, batches.num_classes, initialized=False)
    shallow.load_state_dict(state)
    move_to_device(shallow, next(deep.parameters()).device)
    with closing(batches.training(0, num_batches)) as training:
        extend(shallow, deep, (images for images, _ in training))
    # Each process estimated the statistics from its own part of the batches: use those of rank 0.
    deep.load_state_dict(
        world.broadcast(lambda: {k: v.cpu() for k, v in deep.state_dict().items()})
    )
    names = (net_name(shallower), net_name(config))
    return _compare_nets(names, (shallow, deep), batches, num_batches, world, report)


def _load_shallow_weights(config: Config, shallow: Config) -> dict[str, Any]:
    """Load the state dict of the shallower run's net; raises CheckpointError if there is none."""
    folder = run_folder(shallow)
    checkpoint = load_checkpoint(folder) if is_finished(folder) else None
    if checkpoint is None:
        warmup = shallow.recipe.warmup
        default = default_warmup(shallow.depth, cast(Family, shallow.family))
        # The shallower run must use the same recipe.warmup, so the command must set it unless it
        # is the default for that depth. (study=constructed uses the default.)
        override = "" if warmup == default else f" recipe.warmup={warmup}"
        study = "" if override else " (resnet-study study=constructed trains both nets)"
        raise CheckpointError(
            f"{net_name(config)} cannot start from {folder}: that run is not finished, or its "
            f"checkpoint is missing. First run the same command with depth={shallow.depth}"
            f"{override} and without extends{study}. If the run is finished and only its "
            "checkpoint was deleted, delete its summary.json before that"
        )
    net: dict[str, Any] = checkpoint.parts["net"]
    return net


@torch.no_grad()
def _compare_nets(
    names: tuple[str, str],
    nets: tuple[ResNet, ResNet],
    batches: Batches,
    num_batches: int,
    world: World,
    report: ReportProgress,
) -> Extension:
    """Compare both nets in evaluation mode on the same images; leave them in training mode."""
    num_wrong, num_images, max_difference, max_logit = [0, 0], 0, 0.0, 0.0
    for net in nets:
        net.eval()
    with closing(batches.training(0, num_batches)) as training:
        for number, (images, labels) in enumerate(training, 1):
            logits = [net(images) for net in nets]
            for i, net_logits in enumerate(logits):
                num_wrong[i] += int((net_logits.argmax(dim=1) != labels).sum())
            num_images += len(labels)
            max_difference = max(max_difference, float((logits[0] - logits[1]).abs().max()))
            max_logit = max(max_logit, float(logits[0].abs().max()))
            report("comparing with the shallower net", number, num_batches)
    totals = torch.tensor([*num_wrong, num_images])
    *num_wrong, num_images = world.all_reduce_sum(totals).tolist()
    # World has no maximum, but max(x) = -min(-x).
    negatives = world.all_reduce_min(torch.tensor([-max_difference, -max_logit]))
    max_difference, max_logit = (-negatives).tolist()
    errors = [
        NetErrors(100 * num_wrong[i] / num_images, held_out_errors(net, batches, world=world))
        for i, net in enumerate(nets)
    ]
    for net in nets:
        net.train()
    return Extension(*names, errors[0], errors[1], max_difference, max_logit, num_images)
