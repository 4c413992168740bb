"""A data set: images in memory or paths of image files, split for training and testing."""

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
    """Images of one size in memory."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> "Arrays":
        """The images at these indices, in the order given."""
        return Arrays(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Files:
    """Image files of any size."""

    root: str  # the folder that holds them, at any depth
    paths: list[str]  # strings, not Paths: there may be millions
    labels: Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, indices: Tensor) -> "Files":
        """The files at these indices, in the order given."""
        return Files(self.root, [self.paths[i] for i in indices.tolist()], self.labels[indices])


Images = Arrays | Files


@dataclass(frozen=True)
class Source:
    """The images of a data set. `held_out` has "val", "test" or both; training never sees them."""

    train: Images
    held_out: dict[str, Images]
    classes: list[str]
    # Unreadable files that were left out: (split, reason) of each.
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def splits(self) -> dict[str, Images]:
        """The images of every split, by its name."""
        return {"train": self.train, **self.held_out}

    def contents(self) -> dict[str, Any]:
        """Facts about the images; a resumed run checks that they are unchanged."""
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
    """Hold out `fraction` of the training images as "val", as section 4.2's 45k/5k split does.

    The data set's own held-out images become the test set. The split does not depend on the run's
    seed, so runs with different seeds are compared on the same images.
    """
    if fraction == 0:
        return source
    if len(source.held_out) > 1:
        raise DataError(
            "data.validation_fraction is set, but this data has its own validation set: "
            "leave data.validation_fraction at 0"
        )
    (held_out,) = source.held_out.values()
    num_val = round(fraction * len(source.train))
    if not 0 < num_val < len(source.train):
        raise DataError(
            f"data.validation_fraction={fraction} of {len(source.train)} images leaves none to "
            "train on, or none to validate with"
        )
    order = torch.randperm(len(source.train), generator=generator("validation split"))
    return replace(
        source,
        train=source.train.subset(order[num_val:].sort().values),
        held_out={"val": source.train.subset(order[:num_val].sort().values), "test": held_out},
    )


def evenly_spaced(num_images: int, at_most: int) -> Tensor:
    """At most `at_most` indices, evenly spaced because files are sorted by class."""
    count = min(num_images, at_most)
    return torch.arange(count) * num_images // count
