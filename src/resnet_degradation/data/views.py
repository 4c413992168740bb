"""Resized and cropped views of images, for training and testing (section 3.4 of the paper)."""

import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnet_degradation.data.resizing import (
    compute_resized_size,
    resize_and_crop,
    resize_and_crop_fast,
    to_tensor,
)
from resnet_degradation.system.errors import DataError
from resnet_degradation.system.rng import generator

# Largest ratio of an image's longer to its shorter side. More elongated images would become huge
# when resized.
MAX_ASPECT_RATIO = 50

ProtocolName = Literal["center", "ten-crop", "multi-scale"]


@dataclass(frozen=True)
class EvalProtocol:
    """The views of an image over which a net's outputs are averaged.

    center: the single view used to evaluate runs. ten-crop: the four corners and the centre, and
    their mirror images. multi-scale: the whole image at several scales, and its mirror images,
    evaluated by the net in its fully convolutional form (Table 4 of the paper).
    """

    name: ProtocolName
    image_size: int  # side of the crops that the net was trained on
    shorter_side: int  # of image files, resized before cropping
    scales: tuple[int, ...]  # for multi-scale: shorter sides of the whole image
    mirror: bool  # whether to add mirror images; a single view is never mirrored

    def views_per_image(self) -> int:
        """Return the number of views of one image."""
        if self.name == "center":
            return 1
        views = 5 if self.name == "ten-crop" else len(self.scales)
        return 2 * views if self.mirror else views

    def images_per_batch(self, num_crops: int) -> int:
        """Return how many images have views with about as many pixels as `num_crops` crops."""
        crops = float(self.views_per_image())
        if self.name == "multi-scale":
            crops *= sum(side**2 for side in self.scales) / len(self.scales) / self.image_size**2
        return max(1, int(num_crops / crops))


class SameSizeViews(NamedTuple):
    """The normalized views of one size, for some images of a batch."""

    rows: Tensor  # (n,) int64, positions of the images in the batch
    views: Tensor  # (n, V, C, H, W) float32


class MultiViewBatch(NamedTuple):
    """A batch of held-out images with all their views."""

    groups: list[SameSizeViews]  # one for each size of views
    labels: Tensor  # (B,) int64


MultiViewBatches = Generator[MultiViewBatch, None, None]

Pixels = np.ndarray[Any, Any]


def read_image(path: str) -> Image.Image:
    """Read an image file as RGB; raises DataError with its path if it cannot be read.

    Converts greyscale, palette and CMYK images to RGB, and 16 bits per channel to 8; drops
    transparency.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns about large images, transparency and damaged metadata.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _to_rgb(image)
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot read the image {path} ({reason}): fix, replace or remove it, or skip "
            "unreadable images with data.on_error=skip"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ValueError(f"its size of {width}x{height} is too elongated")
    if image.mode.startswith("I;16"):  # convert() would clip values above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are not bytes: save it with 8 bits per channel")
    if image.mode == "RGB":  # convert() would make a copy
        image.load()
        return image
    return image.convert("RGB")


def read_jittered_view(
    path: str,
    iteration: int,
    position: int,
    *,
    seed: int,
    image_size: int,
    scale: tuple[int, int],
    mirror: bool,
    resize: str = "exact",
) -> Tensor:
    """Read a training view of an image, uint8 of shape (3, image_size, image_size) (section 3.4).

    The shorter side is resized to a random size in `scale`; the crop and mirroring are random.
    resize: "exact", or "fast", which rounds differently.
    """
    rng = generator("view", seed, iteration, position)

    def draw(upper: int) -> int:
        return int(torch.randint(upper, (1,), generator=rng))

    shorter_side = scale[0] + draw(scale[1] - scale[0] + 1)
    image = read_image(path)
    width, height = compute_resized_size(*image.size, shorter_side)
    top, left = draw(height - image_size + 1), draw(width - image_size + 1)
    crop = resize_and_crop_fast if resize == "fast" else resize_and_crop
    image = crop(image, width, height, left, top, image_size)
    if draw(2) == 1 and mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return to_tensor(image)


def read_centre_view(
    path: str, _iteration: int, _position: int, *, image_size: int, shorter_side: int
) -> Tensor:
    """Read the centre view of an image, uint8 of shape (3, image_size, image_size)."""
    image = read_image(path)
    if image.size != (image_size, image_size) or shorter_side != image_size:
        width, height = compute_resized_size(*image.size, shorter_side)
        left, top = round((width - image_size) / 2), round((height - image_size) / 2)
        image = resize_and_crop(image, width, height, left, top, image_size)
    return to_tensor(image)


def read_views(
    path: str, _iteration: int, _position: int, *, protocol: EvalProtocol
) -> list[Pixels]:
    """Read the views of an image, one uint8 array of shape (V, 3, H, W) for each view size.

    Multi-scale views do not include mirror images. The views are arrays because every tensor that
    is sent between processes needs an open file.
    """
    from torchvision.transforms.v2 import functional as transforms

    image = read_image(path)
    if protocol.name == "multi-scale":
        resized = [transforms.resize(image, [side], antialias=True) for side in protocol.scales]
        return [transforms.pil_to_tensor(view)[None].numpy() for view in resized]
    image = transforms.resize(image, [protocol.shorter_side], antialias=True)
    crop = transforms.ten_crop if protocol.mirror else transforms.five_crop
    crops = crop(image, [protocol.image_size, protocol.image_size])
    return [np.stack([transforms.pil_to_tensor(view).numpy() for view in crops])]


def group_by_size(images: list[list[Pixels]]) -> list[tuple[list[int], Pixels]]:
    """Group views by size, as (positions of the images in the batch, views (n, V, C, H, W))."""
    groups: dict[tuple[int, tuple[int, ...]], tuple[list[int], list[Pixels]]] = {}
    for position, views in enumerate(images):
        for number, pixels in enumerate(views):
            rows, arrays = groups.setdefault((number, pixels.shape), ([], []))
            rows.append(position)
            arrays.append(pixels)
    return [(rows, np.stack(arrays)) for rows, arrays in groups.values()]


def add_mirror_images(views: Tensor) -> Tensor:
    """Append the mirror images: views (..., V, C, H, W) become (..., 2 V, C, H, W)."""
    return torch.cat([views, views.flip(-1)], dim=-4)


def resize_images(images: Tensor, height: int, width: int) -> Tensor:
    """Resize images (..., C, H, W); a per-channel mean (C, 1, 1) stays as it is."""
    from torchvision.transforms.v2 import functional as transforms

    if images.shape[-2:] == (1, 1):
        return images
    resized: Tensor = transforms.resize(images, [height, width], antialias=True)
    return resized
