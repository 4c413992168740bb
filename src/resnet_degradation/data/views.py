"""Views of an image, decoded, resized and cropped: for training and for testing (section 3.4)."""

import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnet_degradation.data.resizing import (
    crop_of_resized,
    fast_crop_of_resized,
    resized_size,
    to_tensor,
)
from resnet_degradation.system.errors import DataError
from resnet_degradation.system.rng import generator

# The largest ratio of an image's sides. A more elongated image would become huge when its shorter
# side is resized to the size of a crop.
MAX_ELONGATION = 50


ProtocolName = Literal["center", "ten-crop", "multi-scale"]


@dataclass(frozen=True)
class EvalProtocol:
    """The views of an image over which a net's outputs are averaged.

    center: the single view that runs are evaluated on. ten-crop: four corners and the centre, and
    their mirror images. multi-scale: the whole image at several scales, and its mirror images,
    evaluated by the net in its fully convolutional form (Table 4).
    """

    name: ProtocolName
    image_size: int  # side of the crops that the net was trained on
    shorter_side: int  # to which image files are resized before cropping
    scales: tuple[int, ...]  # for multi-scale: shorter sides of the whole image
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


class MultiViewBatch(NamedTuple):
    """Some held-out images, each in all its views."""

    sizes: list[ViewsOfSize]
    labels: Tensor  # (B,) int64


MultiViewBatches = Generator[MultiViewBatch, None, None]

Pixels = np.ndarray[Any, Any]


def read_image(path: str) -> Image.Image:
    """The decoded RGB image; raises DataError with its path if it cannot be read.

    Greyscale, palette and CMYK become RGB, transparency is dropped, 16 bits per channel become 8.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns about large images, transparency and damaged metadata.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _to_rgb(image)
    except Exception as error:  # PIL raises errors of many kinds on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot read the image {path} ({reason}): fix, replace or remove it, or skip "
            "unreadable images with data.on_error=skip"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if max(width, height) > MAX_ELONGATION * min(width, height):
        raise ValueError(f"its size of {width}x{height} is too elongated")
    if image.mode.startswith("I;16"):  # convert() would clip everything brighter than 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are not bytes: save it with 8 bits per channel")
    if image.mode == "RGB":  # convert() would copy it
        image.load()
        return image
    return image.convert("RGB")


def jittered_view(
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
    """A training view (3, image_size, image_size) uint8 of an image (section 3.4).

    The shorter side is resized to a random size in `scale`; the crop and mirroring are random.
    resize: exact, or fast, in which rounding differs.
    """
    rng = generator("view", seed, iteration, position)

    def draw(below: int) -> int:
        return int(torch.randint(below, (1,), generator=rng))

    shorter_side = scale[0] + draw(scale[1] - scale[0] + 1)
    image = read_image(path)
    width, height = resized_size(*image.size, shorter_side)
    top, left = draw(height - image_size + 1), draw(width - image_size + 1)
    crop = fast_crop_of_resized if resize == "fast" else crop_of_resized
    image = crop(image, width, height, left, top, image_size)
    if draw(2) == 1 and mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return to_tensor(image)


def centre_view(
    path: str, _iteration: int, _position: int, *, image_size: int, shorter_side: int
) -> Tensor:
    """The single test view (3, image_size, image_size) uint8: resized, centre-cropped."""
    image = read_image(path)
    if image.size != (image_size, image_size) or shorter_side != image_size:
        width, height = resized_size(*image.size, shorter_side)
        left, top = round((width - image_size) / 2), round((height - image_size) / 2)
        image = crop_of_resized(image, width, height, left, top, image_size)
    return to_tensor(image)


def file_views(
    path: str, _iteration: int, _position: int, *, protocol: EvalProtocol
) -> list[Pixels]:
    """The views of an image file, one array (V, 3, H, W) uint8 per view size.

    Multi-scale views lack the mirror images. They are arrays because every tensor that passes
    between processes needs an open file.
    """
    from torchvision.transforms.v2 import functional as transforms

    image = read_image(path)
    if protocol.name == "multi-scale":
        sized = [transforms.resize(image, [side], antialias=True) for side in protocol.scales]
        return [transforms.pil_to_tensor(view)[None].numpy() for view in sized]
    image = transforms.resize(image, [protocol.shorter_side], antialias=True)
    crop = transforms.ten_crop if protocol.mirror else transforms.five_crop
    crops = crop(image, [protocol.image_size, protocol.image_size])
    return [np.stack([transforms.pil_to_tensor(view).numpy() for view in crops])]


def group_by_size(images: list[list[Pixels]]) -> list[tuple[list[int], Pixels]]:
    """For each size of views: which images have it, and their views (n, V, C, H, W)."""
    groups: dict[tuple[int, tuple[int, ...]], tuple[list[int], list[Pixels]]] = {}
    for position, views in enumerate(images):
        for number, pixels in enumerate(views):
            rows, arrays = groups.setdefault((number, pixels.shape), ([], []))
            rows.append(position)
            arrays.append(pixels)
    return [(rows, np.stack(arrays)) for rows, arrays in groups.values()]


def add_mirrors(views: Tensor) -> Tensor:
    """Views (..., V, C, H, W), followed by their mirror images: (..., 2 V, C, H, W)."""
    return torch.cat([views, views.flip(-1)], dim=-4)


def resize_images(images: Tensor, height: int, width: int) -> Tensor:
    """Images (..., C, H, W) resized; a per-channel mean (C, 1, 1) is unchanged."""
    from torchvision.transforms.v2 import functional as transforms

    if images.shape[-2:] == (1, 1):
        return images
    resized: Tensor = transforms.resize(images, [height, width], antialias=True)
    return resized
