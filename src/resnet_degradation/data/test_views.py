"""The views of held-out images by which a net is tested (section 3.4)."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from resnet_degradation.data.views import read_image

ProtocolName = Literal["center", "ten-crop", "multi-scale"]


@dataclass(frozen=True)
class EvalProtocol:
    """The views of an image over which a net's outputs are averaged.

    center: the single view that runs are evaluated by. ten-crop: four corners and the centre, and
    their mirror images. multi-scale: the whole image at several scales, and its mirror images, by
    the net in its fully convolutional form (Table 4).
    """

    name: ProtocolName
    image_size: int  # side of the crops that the net was trained on
    shorter_side: int  # to which image files are resized before they are cropped
    scales: tuple[int, ...]  # of multi-scale: shorter sides of the whole image
    mirror: bool  # whether to add mirror images; a single view is never mirrored

    def views_per_image(self) -> int:
        """The number of views of one image."""
        if self.name == "center":
            return 1
        views = 5 if self.name == "ten-crop" else len(self.scales)
        return 2 * views if self.mirror else views

    def images_per_batch(self, num_views: int) -> int:
        """The number of images whose views have about as many pixels as `num_views` crops."""
        crops = float(self.views_per_image())
        if self.name == "multi-scale":
            crops *= sum(side**2 for side in self.scales) / len(self.scales) / self.image_size**2
        return max(1, int(num_views / crops))


class ViewsOfSize(NamedTuple):
    """Views of one size of some images of a batch, with the mean subtracted."""

    rows: Tensor  # (n,) int64, which images of the batch
    views: Tensor  # (n, V, C, H, W) float32


class ViewedBatch(NamedTuple):
    """Some held-out images, each in all its views."""

    sizes: list[ViewsOfSize]
    labels: Tensor  # (B,) int64


ViewedBatches = Generator[ViewedBatch, None, None]

Pixels = np.ndarray[Any, Any]


def file_views(
    path: str, _iteration: int, _position: int, *, protocol: EvalProtocol
) -> list[Pixels]:
    """The views of an image file, one array (V, 3, H, W) uint8 for each of their sizes.

    Those of multi-scale lack the mirror images. Arrays, unlike tensors, need no open file each to
    pass between processes.
    """
    from torchvision.transforms.v2 import functional as transforms

    image = read_image(path)
    if protocol.name == "multi-scale":
        sized = [transforms.resize(image, [side], antialias=True) for side in protocol.scales]
        return [transforms.pil_to_tensor(one)[None].numpy() for one in sized]
    image = transforms.resize(image, [protocol.shorter_side], antialias=True)
    crop = transforms.ten_crop if protocol.mirror else transforms.five_crop
    crops = crop(image, [protocol.image_size, protocol.image_size])
    return [np.stack([transforms.pil_to_tensor(one).numpy() for one in crops])]


def group_by_size(images: list[list[Pixels]]) -> list[tuple[list[int], Pixels]]:
    """For each size of views: which images have it, and their views (n, V, C, H, W)."""
    groups: dict[tuple[int, tuple[int, ...]], tuple[list[int], list[Pixels]]] = {}
    for position, views in enumerate(images):
        for number, of_size in enumerate(views):
            rows, arrays = groups.setdefault((number, of_size.shape), ([], []))
            rows.append(position)
            arrays.append(of_size)
    return [(rows, np.stack(arrays)) for rows, arrays in groups.values()]


def add_mirrors(views: Tensor) -> Tensor:
    """Views (..., V, C, H, W), followed by their mirror images: (..., 2 V, C, H, W)."""
    return torch.cat([views, views.flip(-1)], dim=-4)


def resize_images(images: Tensor, height: int, width: int) -> Tensor:
    """Images (..., C, H, W) resized; a mean of channels (C, 1, 1) stays."""
    from torchvision.transforms.v2 import functional as transforms

    if images.shape[-2:] == (1, 1):
        return images
    resized: Tensor = transforms.resize(images, [height, width], antialias=True)
    return resized
