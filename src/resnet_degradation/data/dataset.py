"""Data sets: images in memory or paths of image files, with training and held-out splits."""

import hashlib
import os
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from resnet_degradation.system.errors import DataError
from resnet_degradation.system.rng import generator


@dataclass(frozen=True)
class Arrays:
    """Images in memory, all of the same size."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> "Arrays":
        """Return the images at these indices, in this order."""
        return Arrays(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Files:
    """Image files of any size."""

    root: str  # folder above all files
    paths: list[str]  # strings, not Paths: there may be millions
    labels: Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, indices: Tensor) -> "Files":
        """Return the files at these indices, in this order."""
        return Files(self.root, [self.paths[i] for i in indices.tolist()], self.labels[indices])


Images = Arrays | Files


@dataclass(frozen=True)
class Source:
    """The images of a data set; `held_out` has the key "val", "test" or both."""

    train: Images
    held_out: dict[str, Images]
    classes: list[str]
    # (split, reason) for each unreadable file that was left out.
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def splits(self) -> dict[str, Images]:
        """Return the images of each split, keyed by its name."""
        return {"train": self.train, **self.held_out}

    def describe_contents(self) -> dict[str, Any]:
        """Describe the images, so that a resumed run can check that they are unchanged."""
        splits = {"training": self.train, **self.held_out}
        facts: dict[str, Any] = {"the number of classes": len(self.classes)}
        facts |= {f"the number of {name} images": len(images) for name, images in splits.items()}
        for name, images in splits.items():
            if isinstance(images, Files):
                digest = hashlib.blake2b(digest_size=8)
                for path in images.paths:
                    digest.update(os.fsencode(path[len(images.root) :]) + b"\0")
                facts[f"the digest of the {name} images' names"] = digest.hexdigest()
        return facts


def split_validation(source: Source, fraction: float) -> Source:
    """Hold out `fraction` of the training images as "val", like the 45k/5k split of section 4.2.

    The data set's own held-out images become "test". The split does not depend on the run's seed,
    so runs with different seeds are compared on the same images.
    """
    if fraction == 0:
        return source
    if len(source.held_out) > 1:
        raise DataError(
            "data.validation_fraction is set, but this data set has its own validation images: "
            "set data.validation_fraction=0"
        )
    (held_out,) = source.held_out.values()
    num_val = round(fraction * len(source.train))
    if not 0 < num_val < len(source.train):
        raise DataError(
            f"data.validation_fraction={fraction} of {len(source.train)} images leaves the "
            "training or the validation set empty: choose another fraction"
        )
    order = torch.randperm(len(source.train), generator=generator("validation split"))
    return replace(
        source,
        train=source.train.subset(order[num_val:].sort().values),
        held_out={"val": source.train.subset(order[:num_val].sort().values), "test": held_out},
    )


def evenly_spaced_indices(num_images: int, max_indices: int) -> Tensor:
    """Return up to `max_indices` evenly spaced indices, which cover all classes of sorted files."""
    count = min(num_images, max_indices)
    return torch.arange(count) * num_images // count
