"""The views of held-out images that a net is tested by (section 3.4)."""

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_degradation.data.decode import read_image

ProtocolName = Literal["center", "ten-crop", "multi-scale"]


@dataclass(frozen=True)
class EvalProtocol:
    """How a net is tested: by which views of an image, over which its scores are averaged.

    center: the single view that runs are evaluated by. ten-crop: four corners and the centre, and
    their mirror images. multi-scale: the whole image at several scales, and its mirror images, by
    the net in its fully convolutional form (Table 4).
    """

    name: ProtocolName
    image_size: int  # side of the crops that the net was trained on
    shorter_side: int  # to which image files are brought before crops are cut out of them
    scales: tuple[int, ...]  # of multi-scale: shorter sides of the whole image
    mirror: bool  # whether mirror images are shown too; a single view never is mirrored

    def views_per_image(self) -> int:
        """How many views the scores of an image are averaged over."""
        if self.name == "center":
            return 1
        views = 5 if self.name == "ten-crop" else len(self.scales)
        return 2 * views if self.mirror else views

    def images_per_batch(self, num_views: int) -> int:
        """How many images have about as many pixels in their views as so many crops have."""
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


@dataclass(frozen=True)
class FileViews:
    """The views of an image file, but for the mirror images of several scales."""

    protocol: EvalProtocol

    def __call__(self, path: str, _iteration: int, _position: int) -> list[Tensor]:
        """Views of the sizes that there are, each (V, 3, H, W) uint8."""
        from torchvision.transforms.v2 import functional as transforms

        protocol = self.protocol
        image = read_image(path)
        if protocol.name == "multi-scale":
            sized = [transforms.resize(image, [side], antialias=True) for side in protocol.scales]
            return [transforms.pil_to_tensor(one)[None] for one in sized]  # mirrored on the device
        image = transforms.resize(image, [protocol.shorter_side], antialias=True)
        cut = transforms.ten_crop if protocol.mirror else transforms.five_crop
        crops = cut(image, [protocol.image_size, protocol.image_size])
        return [torch.stack([transforms.pil_to_tensor(crop) for crop in crops])]


class Packed(NamedTuple):
    """Views of several images in one tensor: a process hands on each as an open file."""

    pixels: Tensor  # (total,) uint8
    shapes: list[list[tuple[int, ...]]]  # of each image, of its views of each size

    def unpacked(self) -> list[list[Tensor]]:
        """The views of each image, of each size."""
        lengths = [math.prod(shape) for image in self.shapes for shape in image]
        flat = iter(self.pixels.split(lengths))
        return [[next(flat).view(shape) for shape in image] for image in self.shapes]


def packed(images: list[list[Tensor]]) -> Packed:
    """The views of several images in one tensor."""
    pixels = torch.cat([views.flatten() for image in images for views in image])
    return Packed(pixels, [[tuple(views.shape) for views in image] for image in images])


def with_mirrors(views: Tensor, mirror: bool) -> Tensor:
    """Views (..., V, C, H, W), followed by their mirror images (..., 2 V, C, H, W) if `mirror`."""
    return torch.cat([views, views.flip(-1)], dim=-4) if mirror else views


def five_crops(images: Tensor, size: int) -> Tensor:
    """The corners and the centre (N, 5, C, size, size) of images (N, C, H, W)."""
    from torchvision.transforms.v2 import functional as transforms

    return torch.stack(transforms.five_crop(images, [size, size]), dim=1)


def by_size(images: list[list[Tensor]]) -> list[tuple[list[int], Tensor]]:
    """For each size of views: the positions of the images that have it, and their views.

    images: for each image its views, each (V, C, H, W).
    """
    found: dict[tuple[int, torch.Size], tuple[list[int], list[Tensor]]] = {}
    for position, views in enumerate(images):
        for number, of_size in enumerate(views):
            rows, tensors = found.setdefault((number, of_size.shape), ([], []))
            rows.append(position)
            tensors.append(of_size)
    return [(rows, torch.stack(tensors)) for rows, tensors in found.values()]


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Images (..., C, H, W) brought to another size, as they are if they have it or are (1, 1)."""
    if images.shape[-2:] in ((1, 1), (height, width)):
        return images
    flat = images.reshape(-1, *images.shape[-3:])
    sized = F.interpolate(flat, size=(height, width), mode="bilinear", antialias=True)
    return sized.reshape(*images.shape[:-2], height, width)
