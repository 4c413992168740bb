"""Data sets that torchvision downloads and verifies: CIFAR and Imagenette."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from resnet_degradation.config.schema import DataConfig
from resnet_degradation.data.dataset import Arrays, Source
from resnet_degradation.data.sources.folder import scan_folder
from resnet_degradation.system.errors import DataError

# Numbers of training and validation images of Imagenette 2.
IMAGENETTE_IMAGES = (9_469, 3_925)


def load_cifar(data: DataConfig) -> Source:
    """Load CIFAR-10 or CIFAR-100 with torchvision, resized to data.image_size."""
    from torchvision import datasets

    dataset_class = datasets.CIFAR10 if data.name == "cifar10" else datasets.CIFAR100

    def open_sets(download: bool) -> list[Any]:
        return [dataset_class(data.root, train, download=download) for train in (True, False)]

    sets = _open_or_download(open_sets, data, f"{dataset_class.base_folder}/", dataset_class.url)
    train, test = (_convert_to_arrays(split, data.image_size) for split in sets)
    return Source(train, {"test": test}, list(sets[0].classes))


def _convert_to_arrays(dataset: Any, image_size: int) -> Arrays:
    images = torch.from_numpy(np.asarray(dataset.data)).permute(0, 3, 1, 2)
    if images.shape[-1] != image_size:
        resized = F.interpolate(
            images.float(), size=(image_size, image_size), mode="bilinear", antialias=True
        )
        images = resized.round().clamp(0, 255).to(torch.uint8)
    return Arrays(images.contiguous(), torch.tensor(dataset.targets, dtype=torch.int64))


def load_imagenette(data: DataConfig) -> Source:
    """Find the files of Imagenette (shorter side 320); download them if they are missing."""
    from torchvision.datasets import Imagenette

    folder = Path(str(data.root)) / "imagenette2-320"
    if not folder.is_dir():
        open_set = partial(Imagenette, data.root, "train", "320px")
        _open_or_download(open_set, data, f"{folder.name}/", Imagenette._ARCHIVES["320px"][0])
    source = scan_folder(folder)
    num_train, num_val = len(source.train), len(source.held_out["val"])
    if (num_train, num_val) != IMAGENETTE_IMAGES:
        raise DataError(
            f"{folder} is incomplete: it has {num_train:,} training and {num_val:,} validation "
            f"images instead of {IMAGENETTE_IMAGES[0]:,} and {IMAGENETTE_IMAGES[1]:,}: remove the "
            "folder, and the next run will download it again"
        )
    return source


def _open_or_download(
    open_sets: Callable[..., Any], data: DataConfig, expected: str, url: str
) -> Any:
    """Open torchvision data sets; download them only if they are missing or damaged."""
    root = Path(str(data.root))
    try:
        return open_sets(download=False)
    except (OSError, RuntimeError):
        reason = "data.download is false"
    if data.download:
        try:
            root.mkdir(parents=True, exist_ok=True)
            return open_sets(download=True)
        except (OSError, RuntimeError) as error:
            message = (str(error).strip() or repr(error)).splitlines()[0]
            reason = f"it could not be downloaded ({message})"
    raise DataError(
        f"{data.name} was not found: looked for {root / expected} (complete, with the right "
        f"checksums), and {reason}. To fix this, download {url} and unpack it in "
        f"{root}, or set data.root= to another folder, or train on the bundled images with "
        "data=digits"
    )
