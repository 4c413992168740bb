"""Where images come from: the embedded digits, CIFAR, and folders of image files.

A source is either arrays, when every image has one small size, or paths, when they have not.
"""

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
    """Images of one size, in memory."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> "Arrays":
        """The images with these indices, in their order."""
        return Arrays(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Files:
    """Image files of any size."""

    root: str  # the folder that they are in, at any depth
    paths: list[str]  # plain strings: there may be millions
    labels: Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, indices: Tensor) -> "Files":
        """The files with these indices, in their order."""
        return Files(self.root, [self.paths[i] for i in indices.tolist()], self.labels[indices])


Images = Arrays | Files


@dataclass(frozen=True)
class Source:
    """The images of a data set: those to train on, and those held out, by split name.

    `held_out` has "val", "test" or both. Training never sees them.
    """

    train: Images
    held_out: dict[str, Images]
    classes: list[str]
    # Files that cannot be read and are therefore left out: the split they were in, and the reason.
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def splits(self) -> dict[str, Images]:
        """The images of every split, by its name."""
        return {"train": self.train, **self.held_out}

    def contents(self) -> dict[str, Any]:
        """Facts that tell, when a run is continued, whether its images are still the same."""
        splits = {"training": self.train, **self.held_out}
        facts: dict[str, Any] = {"the number of classes": len(self.classes)}
        for name, images in splits.items():
            facts[f"the number of {name} images"] = len(images)
        for name, images in splits.items():
            if isinstance(images, Files):
                digest = hashlib.blake2b(digest_size=8)
                for path in images.paths:
                    digest.update(os.fsencode(path[len(images.root) :]) + b"\0")
                facts[f"the digest of the {name} images' names"] = digest.hexdigest()
        return facts


def split_validation(source: Source, fraction: float) -> Source:
    """Keep `fraction` of the training images back as "val", as section 4.2's 45k/5k split does.

    What the data set itself holds out is then the test set. The split does not depend on the
    run's seed, so that runs with different seeds are compared on the same images.
    """
    if fraction == 0:
        return source
    if len(source.held_out) > 1:
        raise DataError(
            "data.validation_fraction is set, but this data has a validation set of its own: "
            "leave data.validation_fraction at 0"
        )
    (held_out,) = source.held_out.values()
    num_val = round(fraction * len(source.train))
    if not 0 < num_val < len(source.train):
        raise DataError(
            f"data.validation_fraction={fraction} leaves no image to train on or none to "
            f"validate with, of {len(source.train)}"
        )
    order = torch.randperm(len(source.train), generator=generator("validation split"))
    return replace(
        source,
        train=source.train.subset(order[num_val:].sort().values),
        held_out={"val": source.train.subset(order[:num_val].sort().values), "test": held_out},
    )


def evenly_spaced(num_images: int, at_most: int) -> Tensor:
    """Indices of so many images or fewer, spread over all of them: files are sorted by class."""
    count = min(num_images, at_most)
    return torch.arange(count) * num_images // count
