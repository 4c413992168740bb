"""Finds unreadable and rotated image files before training."""

import warnings
from dataclasses import replace

import torch
from PIL import ExifTags, Image
from torch import Tensor

from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.cache import cache_folder, cache_key, load_or_compute
from resnet_degradation.data.dataset import Files, Images, Source, evenly_spaced_indices
from resnet_degradation.data.decode import decode_all
from resnet_degradation.data.views import read_image
from resnet_degradation.system.errors import DataError

NUM_SAMPLED = 100

# Warn at this percentage or more. ImageNet itself has a few rotated images, which are commonly used
# as they are stored.
ROTATED_PERCENT = 5


def skip_unreadable(
    source: Source, config: Config, progress: ReportProgress = ignore_progress
) -> Source:
    """Return the source without its unreadable files, which are listed in `skipped`.

    Decodes all files once and caches the result. A run thus knows its images before it starts, and
    their order remains a pure function of (seed, iteration).

    Raises DataError if no image is left in a split, or in a class of the training split.
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
                f"no {name} image{class_text} can be read ({len(skipped)} were skipped{first}): "
                "fix or replace the files"
            )
    train = splits.pop("train")
    return replace(source, train=train, held_out=splits, skipped=skipped)


def _find_unreadable(files: Files, config: Config, progress: ReportProgress) -> dict[int, str]:
    """Return why files are unreadable, keyed by their indices."""

    def compute() -> dict[int, str]:
        workers = config.runtime.num_workers
        views = decode_all(files, _is_readable, workers, "checking images", progress)
        bad = (~torch.cat(list(views))).nonzero().flatten().tolist()
        # Read again: the first failure may have been temporary.
        reasons = {index: _find_defect(files.paths[index]) for index in bad}
        return {index: reason for index, reason in reasons.items() if reason is not None}

    name = f"unreadable-{cache_key(files.paths)}"
    reasons: dict[int, str] = load_or_compute(cache_folder(config), name, compute)
    return reasons


def _is_readable(path: str, _iteration: int, _position: int) -> Tensor:
    return torch.tensor(_find_defect(path) is None)


def _find_defect(path: str) -> str | None:
    """Return the path and why the image cannot be read; None if it can be read."""
    try:
        read_image(path)
    except DataError as error:
        return str(error).removeprefix("cannot read the image ").rpartition(": fix, replace")[0]
    return None


def warn_if_rotated(images: Images) -> None:
    """Warn if many image files in a sample are stored rotated or mirrored."""
    if not isinstance(images, Files):
        return
    sampled = evenly_spaced_indices(len(images), NUM_SAMPLED).tolist()
    num_rotated = sum(_is_rotated(images.paths[i]) for i in sampled)
    if 100 * num_rotated >= ROTATED_PERCENT * len(sampled):
        warnings.warn(
            f"{num_rotated} of {len(sampled)} images in {images.root} are stored rotated or "
            "mirrored, and their EXIF orientation is ignored: to train on upright images, rotate "
            "the files, for example with ImageMagick: mogrify -auto-orient FILES",
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
    except Exception:  # unreadable images are reported during training
        return False
