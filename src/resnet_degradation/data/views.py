"""Views of one image file: decoded, resized and cropped."""

import warnings

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnet_degradation.system.errors import DataError
from resnet_degradation.system.rng import generator

# The largest ratio of an image's sides. Resizing the shorter side of a more elongated image to the
# size of a crop would make it huge.
MAX_ELONGATION = 50


def read_image(path: str) -> Image.Image:
    """The decoded RGB image; raises DataError with its path if it cannot be read.

    Greyscale, palette and CMYK become RGB, transparency is dropped, 16 bits a channel become 8.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, transparency and damaged metadata.
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
        raise ValueError("its pixels are not bytes: save it with 8 bits a channel")
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
) -> Tensor:
    """A training view (3, image_size, image_size) uint8 of an image (section 3.4).

    A random crop of the image, or of its mirror image, with the shorter side sampled in `scale`.
    """
    from torchvision.transforms.v2 import functional as transforms

    rng = generator("view", seed, iteration, position)

    def draw(below: int) -> int:
        return int(torch.randint(below, (1,), generator=rng))

    shorter_side = scale[0] + draw(scale[1] - scale[0] + 1)
    image = transforms.resize(read_image(path), [shorter_side], antialias=True)
    width, height = image.size
    top, left = draw(height - image_size + 1), draw(width - image_size + 1)
    image = transforms.crop(image, top, left, image_size, image_size)
    if draw(2) == 1 and mirror:
        image = transforms.horizontal_flip(image)
    view: Tensor = transforms.pil_to_tensor(image)
    return view


def centre_view(
    path: str, _iteration: int, _position: int, *, image_size: int, shorter_side: int
) -> Tensor:
    """The single test view (3, image_size, image_size) uint8: resized, centre crop."""
    from torchvision.transforms.v2 import functional as transforms

    image = read_image(path)
    if image.size != (image_size, image_size) or shorter_side != image_size:
        image = transforms.resize(image, [shorter_side], antialias=True)
        image = transforms.center_crop(image, [image_size, image_size])
    view: Tensor = transforms.pil_to_tensor(image)
    return view
