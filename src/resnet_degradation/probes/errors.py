"""The error of a net on held-out images, with the center crop or another testing protocol."""

from collections.abc import Callable
from contextlib import closing
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.batches import Batches
from resnet_degradation.data.views import (
    EvalProtocol,
    MultiViewBatch,
    MultiViewBatches,
    SameSizeViews,
)
from resnet_degradation.distributed.world import SINGLE_PROCESS, World
from resnet_degradation.nets.hooks import set_mode
from resnet_degradation.nets.resnet import ResNet


@torch.no_grad()
def top1_error(
    net: nn.Module,
    batches: Batches,
    split: str,
    after_batch: Callable[[], None] = lambda: None,
    world: World = SINGLE_PROCESS,
) -> float:
    """Compute the top-1 error in percent on the center crops of all images of `split`.

    The net is in evaluation mode; its own mode is restored at the end. Each process evaluates its
    share of the images, but returns the error on all of them.

    after_batch: called after each batch; it may raise an exception to stop the evaluation.
    """
    num_wrong = torch.zeros((), dtype=torch.int64, device=next(net.parameters()).device)
    with set_mode(net, training=False), closing(batches.held_out(split)) as held_out:
        for images, labels in held_out:
            if len(labels) > 0:
                num_wrong += (net(images).argmax(dim=1) != labels).sum()
            after_batch()
    return 100 * int(world.all_reduce_sum(num_wrong)) / batches.splits[split]


def held_out_errors(
    net: nn.Module,
    batches: Batches,
    after_batch: Callable[[], None] = lambda: None,
    world: World = SINGLE_PROCESS,
) -> dict[str, float]:
    """Compute the top-1 error in percent on every held-out split, keyed by the split's name."""
    return {split: top1_error(net, batches, split, after_batch, world) for split in batches.splits}


@torch.no_grad()
def errors_over_views(
    net: ResNet,
    batches: Batches,
    split: str,
    protocol: EvalProtocol,
    views_per_pass: int,
    report: ReportProgress = ignore_progress,
) -> dict[int, float]:
    """Compute the errors in percent on `split` with a testing protocol: {1: top-1, 5: top-5}.

    With five classes or fewer there is no top-5 error. The net stays in evaluation mode.

    views_per_pass: the number of views of the size of a training crop in a forward pass. A pass
        has fewer views if they are larger.
    """
    net.eval()
    ks = [1, 5] if batches.num_classes > 5 else [1]
    num_wrong = dict.fromkeys(ks, 0)
    num_images, num_tested = batches.splits[split], 0
    with closing(_multi_view_batches(batches, split, protocol)) as multi_view:
        for batch in multi_view:
            outputs = average_over_views(net, batch, protocol, views_per_pass)
            top_classes = outputs.topk(ks[-1], dim=1).indices
            is_correct = top_classes == batch.labels[:, None]
            for k in ks:
                num_wrong[k] += int((~is_correct[:, :k].any(dim=1)).sum())
            num_tested += len(batch.labels)
            report(f"{protocol.name}, {split}", num_tested, num_images)
    return {k: 100 * wrong / num_images for k, wrong in num_wrong.items()}


def _multi_view_batches(batches: Batches, split: str, protocol: EvalProtocol) -> MultiViewBatches:
    if protocol.name != "center":
        yield from batches.multi_view(split, protocol)
        return
    with closing(batches.held_out(split)) as held_out:
        for images, labels in held_out:
            rows = torch.arange(len(labels), device=labels.device)
            yield MultiViewBatch([SameSizeViews(rows, images[:, None])], labels)


def average_over_views(
    net: ResNet, batch: MultiViewBatch, protocol: EvalProtocol, views_per_pass: int
) -> Tensor:
    """Average the class probabilities of each image over its views.

    Returns a tensor of shape (B, num_classes). With a single view per image, it has the logits.
    """
    size, num_views = protocol.image_size, protocol.views_per_image()
    total = torch.zeros(len(batch.labels), net.fc.out_features, device=batch.labels.device)
    forward: Callable[[Tensor], Tensor] = net
    if protocol.name == "multi-scale":
        window = final_map_size(net, size, total.device)
        forward = partial(fully_convolutional_logits, net, window=window)
    for rows, views in batch.groups:
        flat = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        batch_size = max(1, views_per_pass * size**2 // flat.shape[2:].numel())
        logits = torch.cat([forward(images) for images in flat.split(batch_size)])
        outputs = logits if num_views == 1 else F.softmax(logits, dim=1)
        total.index_add_(0, rows, outputs.view(*views.shape[:2], -1).sum(dim=1))
    return total / num_views


def final_map_size(net: ResNet, image_size: int, device: torch.device) -> tuple[int, int]:
    """Find the height and width of the net's final feature maps for images of this size."""
    images = torch.zeros(1, 3, image_size, image_size, device=device)
    height, width = net.features(images).shape[-2:]
    return height, width


def fully_convolutional_logits(net: ResNet, images: Tensor, window: tuple[int, int]) -> Tensor:
    """Apply the net to images of at least the training size, and average the logits over windows.

    The windows are all parts of the final feature map that are as large as the final map of a
    training crop. Because the classifier is linear, the average of the logits is computed from the
    average of the pooled features.

    images: shape (N, 3, H, W).
    window: height and width of the final map of a training crop.
    """
    pooled = F.avg_pool2d(net.features(images), window, stride=1)
    logits: Tensor = net.fc(pooled.mean(dim=(2, 3)))
    return logits
