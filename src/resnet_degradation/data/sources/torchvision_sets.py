"""Where images come from: the embedded digits, CIFAR, and folders of image files.

A source is either arrays, when every image has one small size, or paths, when they have not.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_degradation.config.schema import DataConfig
from resnet_degradation.data.dataset import Arrays, Source
from resnet_degradation.data.sources.folder import scan_folder
from resnet_degradation.system.errors import DataError

# Training and validation images of Imagenette's second version.
IMAGENETTE_IMAGES = (9_469, 3_925)


def load_cifar(data: DataConfig) -> Source:
    """CIFAR-10 or CIFAR-100 as torchvision reads it: checksummed, and downloaded if missing."""
    from torchvision import datasets

    dataset_class = datasets.CIFAR10 if data.name == "cifar10" else datasets.CIFAR100
    sets = _fetch(
        lambda download: [
            dataset_class(data.root, train=train, download=download) for train in (True, False)
        ],
        data,
        f"{dataset_class.base_folder}/",
        dataset_class.url,
    )
    train, test = (
        Arrays(
            _resized(torch.from_numpy(np.asarray(part.data)).permute(0, 3, 1, 2), data.image_size),
            torch.tensor(part.targets, dtype=torch.int64),
        )
        for part in sets
    )
    return Source(train, {"test": test}, list(sets[0].classes))


def _resized(images: Tensor, image_size: int) -> Tensor:
    """(N, C, H, W) uint8 brought to a square of `image_size`; untouched where it has that size."""
    if images.shape[-1] == image_size:
        return images.contiguous()
    resized = F.interpolate(
        images.float(), size=(image_size, image_size), mode="bilinear", antialias=True
    )
    return resized.round().clamp(0, 255).to(torch.uint8)


def load_imagenette(data: DataConfig) -> Source:
    """The files of Imagenette (shorter side 320), checksummed and downloaded if missing."""
    from torchvision import datasets

    folder = Path(str(data.root)) / "imagenette2-320"

    if not folder.is_dir():
        _fetch(
            lambda download: datasets.Imagenette(
                data.root, split="train", size="320px", download=download
            ),
            data,
            f"{folder.name}/",
            datasets.Imagenette._ARCHIVES["320px"][0],
        )
    source = scan_folder(folder)
    num_images = (len(source.train), len(source.held_out["val"]))
    if num_images != IMAGENETTE_IMAGES:
        raise DataError(
            f"{folder} is not all of Imagenette: it has {num_images[0]:,} training and "
            f"{num_images[1]:,} validation images instead of {IMAGENETTE_IMAGES[0]:,} and "
            f"{IMAGENETTE_IMAGES[1]:,}. Remove the folder, and it is downloaded again"
        )
    return source


def _fetch(open_sets: Callable[[bool], Any], data: DataConfig, looked_for: str, url: str) -> Any:
    """Open a torchvision data set, downloading it only if it is not there."""
    root = Path(str(data.root))
    advice = (
        f"download {url} and unpack it in {root}, or name another folder with data.root=, "
        "or train on the embedded images with data=digits"
    )
    try:
        return open_sets(False)
    except (OSError, RuntimeError):
        pass  # not there, incomplete, or its checksum differs
    if not data.download:
        raise DataError(
            f"{data.name} was not found: looked for {root / looked_for} (complete, with the right "
            f"checksums), and data.download is false. What would work: {advice}"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        return open_sets(True)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise DataError(
            f"{data.name} was not found in {root / looked_for} and could not be downloaded "
            f"({reason}). What would work: {advice}"
        ) from error
