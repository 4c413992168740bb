"""Where images come from: the embedded digits, CIFAR, and folders of image files.

A source is either arrays, when every image has one small size, or paths, when they have not.
"""

import hashlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_degradation.config import DataConfig
from resnet_degradation.data.class_lists import ADVICE, read_class_list
from resnet_degradation.errors import DataError
from resnet_degradation.plugins import load_own
from resnet_degradation.seeding import generator

DIGITS_HELD_OUT = 360
# Training and validation images of Imagenette's second version.
IMAGENETTE_IMAGES = (9_469, 3_925)
# The endings of image files, as torchvision has them. They are fixed, because a data set would
# have more images if others were read as well; so files with those are only pointed out.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
UNREAD_ENDINGS = (".gif", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".jxl", ".dng", ".svg")


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


def load_source(data: DataConfig, prepare: Callable[[Source], Source] | None = None) -> Source:
    """The images that a settled configuration names.

    prepare: is done with all of them before a validation set is split off.

    Raises DataError, saying what was looked for and where, if they are missing or unreadable.
    """
    if data.loader is not None:
        source = load_own_source(data)
    elif data.name == "digits":
        source = load_digits(data.image_size)
    elif data.name in ("cifar10", "cifar100"):
        source = load_cifar(data)
    else:
        root = Path(str(data.root))
        source = load_imagenette(data) if data.name == "imagenette" else scan_folder(root)
    if prepare is not None:
        source = prepare(source)
    return split_validation(source, data.validation_fraction)


def load_own_source(data: DataConfig) -> Source:
    """What a function of the user's own, named by data.loader, makes of the configuration.

    Raises DataError if it is no Source of images of the size that the configuration names.
    """
    source = load_own(str(data.loader), "data.loader")(data)
    problem = None if isinstance(source, Source) else f"a {type(source).__name__}, not a Source"
    if isinstance(source, Source):
        problem = _problem(source, data)
    if problem is not None:
        raise DataError(f"data.loader={data.loader} gave {problem}")
    assert isinstance(source, Source)
    return source


def _problem(source: Source, data: DataConfig) -> str | None:
    """What keeps a source from being trained on and tested with."""
    if not source.held_out or not set(source.held_out) <= {"val", "test"}:
        given = ", ".join(map(str, source.held_out)) or "none"
        return f"the held-out splits {given}, where val, test or both are expected"
    problems = (_problem_of(images, data) for images in source.splits().values())
    if problem := next((problem for problem in problems if problem is not None), None):
        return problem
    for name, images in source.splits().items():
        least, most = int(images.labels.min()), int(images.labels.max())
        if least < 0 or most >= len(source.classes):
            return (
                f"labels from {least} to {most} for {name}, where 0 to {len(source.classes) - 1} "
                f"are expected: there are {len(source.classes)} classes"
            )
    return None


def _problem_of(images: Images, data: DataConfig) -> str | None:
    """What keeps images from being trained on, of those of one split."""
    if len(images) == 0:
        return "a split without images"
    if isinstance(images, Files):
        return None
    size = (len(images.labels), 3, data.image_size, data.image_size)
    if images.images.dtype != torch.uint8 or images.images.shape != size:
        return (
            f"images of {images.images.dtype} and shape {tuple(images.images.shape)}, not of "
            f"torch.uint8 and shape {size} (number of labels, 3, data.image_size twice)"
        )
    if images.labels.dtype != torch.int64:
        return f"labels of {images.labels.dtype}, not of torch.int64"
    return None


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


def load_digits(image_size: int) -> Source:
    """scikit-learn's 1,797 scanned 8x8 digits, enlarged bilinearly, as three equal channels.

    Three, so that the nets are exactly the paper's. 360 digits, the same ones always, are held
    out for validation.
    """
    table = torch.from_numpy(digits_table())
    small = table[:, :64].float().reshape(-1, 1, 8, 8) / 16  # (1797, 1, 8, 8) in [0, 1]
    enlarged = F.interpolate(small, size=(image_size, image_size), mode="bilinear")
    images = (enlarged * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    everything = Arrays(images, table[:, 64].long())
    order = torch.randperm(len(images), generator=generator("digits split"))
    return Source(
        train=everything.subset(order[DIGITS_HELD_OUT:]),
        held_out={"val": everything.subset(order[:DIGITS_HELD_OUT])},
        classes=[str(digit) for digit in range(10)],
    )


def digits_table() -> "np.ndarray[Any, Any]":
    """scikit-learn's digits (1797, 65): 64 values from 0 to 16, row by row, and the label.

    Its file is read without importing scikit-learn, which takes most of a second.
    """
    package = importlib.util.find_spec("sklearn")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "datasets/data/digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])


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


def scan_folder(root: Path) -> Source:
    """The image files of train/<class>/* and of val/<class>/* or test/<class>/* (or both).

    Where a list names the classes of the images in val, they may be in any folders below it. A
    held-out folder whose images have no classes is left out, with a warning, if there is another.
    """
    train_root, held_out_roots = split_folders(root)
    classes = _class_names(train_root)
    if len(classes) < 2:
        raise DataError(
            f"{train_root} has {'one class folder' if classes else 'no class folders'}"
            f"{''.join(f' ({name})' for name in classes)}: expected two or more folders "
            f"{train_root}/<class>/ of image files"
        )
    held_out = {name: _held_out(folder, classes) for name, folder in held_out_roots.items()}
    known = {name: images for name, images in held_out.items() if isinstance(images, Files)}
    problems = [problem for problem in held_out.values() if isinstance(problem, str)]
    if not known:
        raise DataError(f"{problems[0]}: {ADVICE}")
    for problem in problems:
        warnings.warn(f"{problem}: they are not used", stacklevel=2)
    return Source(_in_class_folders(train_root, classes), {**known}, classes)


def _held_out(folder: Path, classes: list[str]) -> Files | str:
    """The images in val or test, or a sentence that says that nothing tells their classes.

    Raises DataError if their classes are not those of the training images.
    """
    found = _class_names(folder)
    if found == classes:
        return _in_class_folders(folder, classes)
    listed = read_class_list(folder) if folder.name == "val" else None
    if listed is not None:
        return _by_list(folder, classes, listed)
    if set(found) <= {"images"}:
        num_images = sum(1 for _ in _image_files(folder, []))
        if num_images == 0:
            raise DataError(f"{folder} has no images: expected {folder}/<class>/<image files>")
        return f"nothing tells the classes of the {num_images:,} images in {folder}"
    raise DataError(_different_classes(folder, found, classes))


def _by_list(folder: Path, classes: list[str], listed: dict[str, str]) -> Files:
    """The image files in a folder, by class and then by name, as if in class folders."""
    unread: list[str] = []
    paths = list(_image_files(folder, unread))
    _warn_of(unread)
    if unknown := [path for path in paths if Path(path).stem not in listed]:
        raise DataError(f"the list of classes does not name {unknown[0]}")
    named = sorted((listed[Path(path).stem], path) for path in paths)
    if (found := sorted({name for name, _ in named})) != classes:
        raise DataError(_different_classes(folder, found, classes))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = torch.tensor([numbers[name] for name, _ in named])
    return Files(str(folder), [path for _, path in named], labels)


def _different_classes(folder: Path, found: list[str], classes: list[str]) -> str:
    def some(names: set[str]) -> str:
        return ", ".join(sorted(names)[:5]) + (" ..." if len(names) > 5 else "")

    sides = {"only there": set(found) - set(classes), "only in train": set(classes) - set(found)}
    differences = [f"{side}: {some(names)}" for side, names in sides.items() if names]
    return (
        f"the classes in {folder} are not those in {folder.with_name('train')} "
        f"({'; '.join(differences)})"
    )


def split_folders(root: Path) -> tuple[Path, dict[str, Path]]:
    """The folders of the training and of the held-out images; raises DataError if one lacks."""
    train_root = root / "train"
    held_out_roots = {name: root / name for name in ("val", "test") if (root / name).is_dir()}
    if not train_root.is_dir() or not held_out_roots:
        if root.is_dir() and any("\\" in entry.name for entry in root.iterdir()):
            raise DataError(
                f"file names in {root} contain backslashes: a zip made on Windows was unpacked "
                "without its folders. Unpack it again, with the command unzip"
            )
        missing = train_root if not train_root.is_dir() else f"{root / 'val'} or {root / 'test'}"
        raise DataError(
            f"no images: looked for the folder {missing}. Expected train/<class>/* and "
            f"val/<class>/* or test/<class>/* in {root}: name their folder with data.root= or "
            "RESNET_DATA, or train on the embedded images with data=digits"
        )
    return train_root, held_out_roots


def _class_names(folder: Path) -> list[str]:
    return sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not _is_debris(entry.name)
    )


def _in_class_folders(folder: Path, classes: list[str]) -> Files:
    paths: list[str] = []
    labels: list[int] = []
    unread: list[str] = []
    for label, name in enumerate(classes):
        found = sorted(_image_files(folder / name, unread))
        if not found:
            raise DataError(
                f"{folder / name} has no images: every class needs at least one file with an "
                f"ending of {', '.join(IMAGE_ENDINGS)}"
            )
        paths += found
        labels += [label] * len(found)
    _warn_of(unread)
    return Files(str(folder), paths, torch.tensor(labels))


def _warn_of(unread: list[str]) -> None:
    """Warn if image files are not read because of their names' endings."""
    if unread:
        warnings.warn(
            f"{len(unread):,} files are not read, such as {unread[0]}: convert them to JPEG or PNG "
            "to use them",
            stacklevel=2,
        )


def _is_debris(name: str) -> bool:
    """Whether a file or folder is not the user's: hidden ones, and what macOS and Synology add."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def _image_files(
    folder: Path | str, unread: list[str], seen: set[tuple[int, int]] | None = None
) -> Iterator[str]:
    """The image files in a folder and in those below it, each folder once: links may make loops.

    unread: images with other endings are added to it.
    Paths are strings: a million Paths are slow. Raises OSError for a folder that cannot be read.
    """
    seen = set() if seen is None else seen
    status = os.stat(folder)  # noqa: PTH116
    if (identity := (status.st_dev, status.st_ino)) in seen:
        return
    seen.add(identity)
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_debris(entry.name):
                continue
            if entry.is_dir():
                yield from _image_files(entry.path, unread, seen)
            elif entry.name.lower().endswith(IMAGE_ENDINGS):
                if not entry.is_file() and Path(entry.path).exists():  # a pipe would block
                    raise DataError(f"{entry.path} is named like an image and is no file")
                yield entry.path
            elif entry.name.lower().endswith(UNREAD_ENDINGS):
                unread.append(entry.path)
