"""Photographs that a camera stored turned, with a note for viewers to turn them back."""

import warnings

from PIL import ExifTags, Image

from resnet_degradation.data.dataset import Files, Images, evenly_spaced

NUM_SAMPLED = 100

# ImageNet itself has a few such images, which everybody trains on as they are stored.
TOO_MANY = 5


def warn_if_turned(images: Images) -> None:
    """Warn if many of a sample of the image files are stored turned or mirrored."""
    if not isinstance(images, Files):
        return
    sampled = evenly_spaced(len(images), NUM_SAMPLED).tolist()
    num_turned = sum(_is_turned(images.paths[i]) for i in sampled)
    if 100 * num_turned >= TOO_MANY * len(sampled):
        warnings.warn(
            f"{num_turned} of {len(sampled)} images in {images.root} are stored turned or "
            "mirrored (EXIF orientation) and are used as they are stored. To use them upright, "
            "turn their pixels, as with ImageMagick: mogrify -auto-orient FILES",
            stacklevel=2,
        )


def _is_turned(path: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                # Without EXIF data in the header, getexif() may decode the image to look behind it.
                exif = image.getexif() if "exif" in image.info else {}
                return bool(exif.get(ExifTags.Base.Orientation, 1) != 1)
    except Exception:  # it is reported when the image is needed
        return False
