"""The error of a net on held-out images."""

from collections.abc import Callable
from contextlib import closing

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.batches import Batches
from resnet_degradation.data.test_views import EvalProtocol, ViewedBatch, ViewedBatches, ViewsOfSize
from resnet_degradation.distributed.world import ALONE, World
from resnet_degradation.nets.resnet import ResNet


def _nothing() -> None:
    pass


@torch.no_grad()
def top1_error(
    net: nn.Module,
    batches: Batches,
    split: str,
    between_batches: Callable[[], None] = _nothing,
    world: World = ALONE,
) -> float:
    """The top-1 error in percent on every image of `split`, by its single centre view.

    The net is evaluated with its running statistics and left in the mode it was in, also if
    `between_batches` ends the evaluation by raising something. The processes of a world count the
    wrong answers to their own images, and add them up.
    """
    was_training = net.training
    net.eval()
    num_wrong = torch.zeros((), dtype=torch.int64, device=next(net.parameters()).device)
    try:
        with closing(batches.held_out(split)) as held_out:
            for images, labels in held_out:
                if len(labels) > 0:
                    num_wrong += (net(images).argmax(dim=1) != labels).sum()
                between_batches()
    finally:
        net.train(was_training)
    return 100 * int(world.sum(num_wrong)) / batches.splits[split]


def held_out_errors(
    net: nn.Module,
    batches: Batches,
    between_batches: Callable[[], None] = _nothing,
    world: World = ALONE,
) -> dict[str, float]:
    """The top-1 error in percent on every held-out split, by its name."""
    return {
        split: top1_error(net, batches, split, between_batches, world) for split in batches.splits
    }


@torch.no_grad()
def errors_over_views(
    net: ResNet,
    batches: Batches,
    split: str,
    protocol: EvalProtocol,
    views_at_once: int,
    report: ReportProgress = ignore_progress,
) -> dict[int, float]:
    """The top-1 and top-5 error in percent on every image of `split`, by the views of `protocol`.

    An image is right within k if its class is among the k of the highest scores. There is no top-5
    error where there are no more than five classes. `views_at_once` of the training size are
    computed at once; of larger views fewer. The net is put into evaluation mode.
    """
    net.eval()
    ks = [k for k in (1, 5) if k == 1 or batches.num_classes > k]
    num_wrong = dict.fromkeys(ks, 0)
    num_images, done = batches.splits[split], 0
    with closing(_viewed_batches(batches, split, protocol)) as found:
        for batch in found:
            best = image_logits(net, batch, protocol, views_at_once).topk(ks[-1], dim=1).indices
            right = best == batch.labels[:, None]
            for k in ks:
                num_wrong[k] += int((~right[:, :k].any(dim=1)).sum())
            done += len(batch.labels)
            report(f"{protocol.name}, {split}", done, num_images)
    return {k: 100 * wrong / num_images for k, wrong in num_wrong.items()}


def _viewed_batches(batches: Batches, split: str, protocol: EvalProtocol) -> ViewedBatches:
    if protocol.name != "center":
        yield from batches.viewed(split, protocol)
        return
    with closing(batches.held_out(split)) as held_out:
        for images, labels in held_out:
            rows = torch.arange(len(labels), device=labels.device)
            yield ViewedBatch([ViewsOfSize(rows, images[:, None])], labels)


def image_logits(
    net: ResNet, batch: ViewedBatch, protocol: EvalProtocol, views_at_once: int
) -> Tensor:
    """The scores (B, num_classes) of a batch's images, averaged over their views.

    What is averaged are probabilities, that is, scores after the softmax; those of a single view
    are given as they are, before it.
    """
    single = protocol.views_per_image() == 1
    multi_scale = protocol.name == "multi-scale"
    window = final_map(net, protocol.image_size, batch.labels.device) if multi_scale else None
    total = torch.zeros(len(batch.labels), net.fc.out_features, device=batch.labels.device)
    for rows, views in batch.sizes:
        flat = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        count = max(1, views_at_once * protocol.image_size**2 // (flat.shape[-2] * flat.shape[-1]))
        parts = []
        for part in flat.split(count):
            if window is not None:
                scores = fully_convolutional_logits(net, part, window)
            else:
                scores = net(part)
            parts.append(scores if single else F.softmax(scores, dim=1))
        of_images = torch.cat(parts).view(*views.shape[:2], -1).sum(dim=1)
        total.index_add_(0, rows, of_images)
    return total / protocol.views_per_image()


def final_map(net: ResNet, image_size: int, device: torch.device) -> tuple[int, int]:
    """Height and width of the maps that the net pools, for images of the training size."""
    images = torch.zeros(1, 3, image_size, image_size, device=device)
    height, width = net.features(images).shape[-2:]
    return height, width


def fully_convolutional_logits(net: ResNet, images: Tensor, window: tuple[int, int]) -> Tensor:
    """Scores (N, num_classes) of images (N, C, H, W) of any size, not below the training size.

    The net in its fully convolutional form: a window of the size of the training images' final map
    slides over the final map, its scores at each place are those of a net that sees no more, and
    they are averaged. As the last layer is linear, the windows are averaged before it.
    """
    pooled = F.avg_pool2d(net.features(images), window, stride=1)
    scores: Tensor = net.fc(pooled.mean(dim=(2, 3)))
    return scores
