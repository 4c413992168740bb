"""Which image files can be read, where those that cannot are to be left out."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.cache import fingerprints, write_if_possible
from resnet_degradation.data.dataset import Files, Images, Source
from resnet_degradation.data.decode import every_view, read_image
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import DataError


@dataclass(frozen=True)
class Readable:
    """A view that tells whether an image can be read."""

    def __call__(self, path: str, _iteration: int, _position: int) -> Tensor:
        """Whether the image can be decoded, as a tensor ()."""
        try:
            read_image(path)
        except DataError:
            return torch.tensor(False)
        return torch.tensor(True)


def only_readable(
    source: Source, num_workers: int, cache: Path, report: ReportProgress = ignore_progress
) -> Source:
    """The source without the files that cannot be read, which `skipped` then names.

    All files are decoded for it, once: what is found is kept in `cache` for the runs that follow.
    So the images of a run are known before it begins, and their order stays a pure function of
    (seed, iteration).

    Raises DataError if a class has no training image left, or a split no image.
    """
    splits: dict[str, Images] = {}
    skipped: list[tuple[str, str]] = []
    for name, images in source.splits().items():
        splits[name] = images
        if isinstance(images, Files) and (bad := _unreadable(images, num_workers, cache, report)):
            kept = torch.tensor([i for i in range(len(images)) if i not in bad], dtype=torch.int64)
            splits[name] = images.subset(kept)
            skipped += [(name, reason) for reason in bad.values()]
    for name, images in splits.items():
        left = images.labels.bincount(minlength=len(source.classes))
        empty = [source.classes[i] for i in (left == 0).nonzero().flatten().tolist()]
        if len(images) == 0 or (name == "train" and empty):
            of = f" of class {empty[0]}" if name == "train" else ""
            raise DataError(
                f"no {name} image{of} can be read ({len(skipped)} were skipped, the first: "
                f"{skipped[0][1]})"
            )
    train = splits.pop("train")
    return replace(source, train=train, held_out=splits, skipped=skipped)


def _unreadable(
    files: Files, num_workers: int, cache: Path, report: ReportProgress
) -> dict[int, str]:
    """The indices of the files that cannot be read, with the reasons."""
    known_by = json.dumps(fingerprints(files.paths))
    name = hashlib.blake2b(known_by.encode(), digest_size=8).hexdigest()
    file = cache / f"unreadable-{name}.json"
    try:
        return {int(index): str(reason) for index, reason in json.loads(file.read_bytes())}
    except (OSError, ValueError, TypeError):
        pass  # not looked for yet
    views = every_view(files, Readable(), 64, num_workers, "checking images", report)
    bad = (~torch.cat(list(views))).nonzero().flatten().tolist()
    # Looked at once more: what can be read then only failed for a moment.
    second = {index: _reason(files.paths[index]) for index in bad}
    reasons = {index: reason for index, reason in second.items() if reason is not None}
    with write_if_possible():
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as stream:
            json.dump(list(reasons.items()), stream)
    return reasons


def _reason(path: str) -> str | None:
    """The file and why it cannot be read, or None if it can."""
    try:
        read_image(path)
    except DataError as error:
        return str(error).partition("): fix")[0].removeprefix("cannot read the image ") + ")"
    return None
