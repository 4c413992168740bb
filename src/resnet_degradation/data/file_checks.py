"""Checks of image files before training: which are unreadable, and which are stored rotated."""

import warnings
from dataclasses import replace

import torch
from PIL import ExifTags, Image
from torch import Tensor

from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.cache import cache_folder, cache_key, cached
from resnet_degradation.data.dataset import Files, Images, Source, evenly_spaced
from resnet_degradation.data.decode import decode_all
from resnet_degradation.data.views import read_image
from resnet_degradation.system.errors import DataError

NUM_SAMPLED = 100

# Warn from this percentage on. ImageNet itself has a few rotated images, and nets are commonly
# trained on them as they are stored.
ROTATED_PERCENT = 5


def skip_unreadable(
    source: Source, config: Config, progress: ReportProgress = ignore_progress
) -> Source:
    """The source without its unreadable files, which are listed in `skipped`.

    All files are decoded once, and the result is cached. So the images of a run are known before
    it starts, and their order stays a pure function of (seed, iteration).

    Raises DataError if a class has no training image left, or a split no image.
    """
    splits = source.splits()
    skipped: list[tuple[str, str]] = []
    for name, images in splits.items():
        if isinstance(images, Files) and (bad := _find_unreadable(images, config, progress)):
            readable = [i for i in range(len(images)) if i not in bad]
            splits[name] = images.subset(torch.tensor(readable, dtype=torch.int64))
            skipped += [(name, reason) for reason in bad.values()]
    for name, images in splits.items():
        counts = images.labels.bincount(minlength=len(source.classes)).tolist()
        empty = [source.classes[i] for i, count in enumerate(counts) if count == 0]
        if len(images) == 0 or (name == "train" and empty):
            class_text = f" of class {empty[0]}" if name == "train" else ""
            first = f", the first: {skipped[0][1]}" if skipped else ""
            raise DataError(
                f"no {name} image{class_text} can be read ({len(skipped)} were skipped{first})"
            )
    train = splits.pop("train")
    return replace(source, train=train, held_out=splits, skipped=skipped)


def _find_unreadable(files: Files, config: Config, progress: ReportProgress) -> dict[int, str]:
    """The indices of the unreadable files, with the reasons."""

    def compute() -> dict[int, str]:
        workers = config.runtime.num_workers
        views = decode_all(files, _is_readable, workers, "checking images", progress)
        bad = (~torch.cat(list(views))).nonzero().flatten().tolist()
        # Read again: the first failure may have been temporary.
        reasons = {index: _find_defect(files.paths[index]) for index in bad}
        return {index: reason for index, reason in reasons.items() if reason is not None}

    name = f"unreadable-{cache_key(files.paths)}"
    found: dict[int, str] = cached(cache_folder(config), name, compute)
    return found


def _is_readable(path: str, _iteration: int, _position: int) -> Tensor:
    return torch.tensor(_find_defect(path) is None)


def _find_defect(path: str) -> str | None:
    """The path and why the image cannot be read; None if it can."""
    try:
        read_image(path)
    except DataError as error:
        return str(error).removeprefix("cannot read the image ").rpartition(": fix, replace")[0]
    return None


def warn_if_rotated(images: Images) -> None:
    """Warn if many image files in a sample are stored rotated or mirrored."""
    if not isinstance(images, Files):
        return
    sampled = evenly_spaced(len(images), NUM_SAMPLED).tolist()
    num_rotated = sum(_is_rotated(images.paths[i]) for i in sampled)
    if 100 * num_rotated >= ROTATED_PERCENT * len(sampled):
        warnings.warn(
            f"{num_rotated} of {len(sampled)} images in {images.root} are stored rotated or "
            "mirrored (EXIF orientation), which is ignored. To train on upright images, rotate "
            "their pixels, for example with ImageMagick: mogrify -auto-orient FILES",
            stacklevel=2,
        )


def _is_rotated(path: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                # Without EXIF data in the header, getexif() may decode the whole image.
                exif = image.getexif() if "exif" in image.info else {}
                return bool(exif.get(ExifTags.Base.Orientation, 1) != 1)
    except Exception:  # training reports unreadable images
        return False
