"""Reads folders of image files: train/<class>/* and val/<class>/* or test/<class>/*.

In some data sets, a list gives the classes of the held-out images instead of class folders.
"""

import csv
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from resnet_degradation.data.dataset import Files, Images, Source
from resnet_degradation.system.errors import DataError

# torchvision's list. A longer list would add images to known data sets.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Other image files, which cause a warning.
UNSUPPORTED_ENDINGS = (".gif", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".jxl", ".dng", ".svg")

# What to do if the classes of held-out images are unknown.
UNKNOWN_CLASSES_ADVICE = (
    "move each image into the folder of its class, or add the data set's list: "
    "LOC_val_solution.csv (ImageNet from Kaggle), the unpacked ILSVRC2012_devkit_t12 (ImageNet "
    "from image-net.org), or val/val_annotations.txt (Tiny ImageNet)"
)


def scan_folder(root: Path) -> Source:
    """Find the image files in train/<class>/ and in val/<class>/, test/<class>/ or both.

    If a list gives the classes of the images in val, they may be in any folders below val. If the
    classes are known in only one of val and test, the other is skipped with a warning.
    """
    train_root, held_out_roots = find_split_folders(root)
    classes = _list_classes(train_root)
    if len(classes) < 2:
        raise DataError(
            f"{train_root} has {'one class folder' if classes else 'no class folders'}"
            f"{''.join(f' ({name})' for name in classes)}: expected two or more folders "
            f"{train_root}/<class>/ with image files"
        )
    held_out = {
        name: _find_held_out_images(folder, classes) for name, folder in held_out_roots.items()
    }
    known: dict[str, Images] = {
        name: images for name, images in held_out.items() if isinstance(images, Files)
    }
    problems = [problem for problem in held_out.values() if isinstance(problem, str)]
    if not known:
        raise DataError(f"{problems[0]}: {UNKNOWN_CLASSES_ADVICE}")
    for problem in problems:
        warnings.warn(f"{problem}: they are not used", stacklevel=2)
    return Source(_find_images_in_class_folders(train_root, classes), known, classes)


def _find_held_out_images(folder: Path, classes: list[str]) -> Files | str:
    """Find the images in val or test; return a message if their classes are unknown.

    Raises DataError if their classes differ from those of the training images.
    """
    found = _list_classes(folder)
    if found == classes:
        return _find_images_in_class_folders(folder, classes)
    listed = _read_class_list(folder) if folder.name == "val" else None
    if listed is not None:
        return _find_listed_images(folder, classes, listed)
    if set(found) <= {"images"}:
        num_images = sum(1 for _ in _find_image_files(folder, []))
        if num_images == 0:
            raise DataError(f"{folder} has no images: expected {folder}/<class>/<image files>")
        return f"cannot find the classes of the {num_images:,} images in {folder}"
    raise DataError(_describe_class_mismatch(folder, found, classes))


def _find_listed_images(folder: Path, classes: list[str], listed: dict[str, str]) -> Files:
    """Find the image files in a folder, ordered by class, then name, as with class folders."""
    unsupported: list[str] = []
    paths = list(_find_image_files(folder, unsupported))
    _warn_about_unsupported(unsupported)
    if unknown := [path for path in paths if Path(path).stem not in listed]:
        raise DataError(
            f"the list of classes does not name {unknown[0]}: add it, or remove the image"
        )
    named = sorted((listed[Path(path).stem], path) for path in paths)
    if (found := sorted({name for name, _ in named})) != classes:
        raise DataError(_describe_class_mismatch(folder, found, classes))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = torch.tensor([numbers[name] for name, _ in named])
    return Files(str(folder), [path for _, path in named], labels)


def _describe_class_mismatch(folder: Path, found: list[str], classes: list[str]) -> str:
    def shorten(names: set[str]) -> str:
        return ", ".join(sorted(names)[:5]) + (" ..." if len(names) > 5 else "")

    one_sided = {
        f"only in {folder.name}": set(found) - set(classes),
        "only in train": set(classes) - set(found),
    }
    differences = [f"{side}: {shorten(names)}" for side, names in one_sided.items() if names]
    return (
        f"the classes in {folder} differ from those in {folder.with_name('train')} "
        f"({'; '.join(differences)})"
    )


def find_split_folders(root: Path) -> tuple[Path, dict[str, Path]]:
    """Return the folders of training and held-out images; raises DataError if one is missing."""
    train_root = root / "train"
    held_out_roots = {name: root / name for name in ("val", "test") if (root / name).is_dir()}
    if not train_root.is_dir() or not held_out_roots:
        if root.is_dir() and any("\\" in entry.name for entry in root.iterdir()):
            raise DataError(
                f"file names in {root} contain backslashes, because a zip made on Windows was "
                "unpacked without its folders: unpack it again, with the command unzip"
            )
        missing = train_root if not train_root.is_dir() else f"{root / 'val'} or {root / 'test'}"
        raise DataError(
            f"no images: looked for the folder {missing}. Expected train/<class>/* and "
            f"val/<class>/* or test/<class>/* in {root}: set data.root= or RESNET_DATA to their "
            "folder, or train on the bundled images with data=digits"
        )
    return train_root, held_out_roots


def _list_classes(folder: Path) -> list[str]:
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not _is_system_file(entry.name)
    )


def _find_images_in_class_folders(folder: Path, classes: list[str]) -> Files:
    paths: list[str] = []
    labels: list[int] = []
    unsupported: list[str] = []
    for label, name in enumerate(classes):
        found = sorted(_find_image_files(folder / name, unsupported))
        if not found:
            raise DataError(
                f"{folder / name} has no images: every class needs at least one file that ends in "
                f"{', '.join(IMAGE_ENDINGS)}"
            )
        paths += found
        labels += [label] * len(found)
    _warn_about_unsupported(unsupported)
    return Files(str(folder), paths, torch.tensor(labels))


def _warn_about_unsupported(unsupported: list[str]) -> None:
    if unsupported:
        warnings.warn(
            f"{len(unsupported):,} files are not read, such as {unsupported[0]}: to use them, "
            "convert them to JPEG or PNG",
            stacklevel=2,
        )


def _is_system_file(name: str) -> bool:
    """Return whether a file or folder is hidden, or was created by macOS or Synology."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def _find_image_files(
    folder: Path | str, unsupported: list[str], visited: set[tuple[int, int]] | None = None
) -> Iterator[str]:
    """Yield the image files in and below a folder, as strings because millions of Paths are slow.

    Adds images with other endings to `unsupported`. Skips folders in `visited`, because links may
    form loops. Raises OSError if a folder cannot be read.
    """
    visited = set() if visited is None else visited
    status = os.stat(folder)  # noqa: PTH116
    if (inode := (status.st_dev, status.st_ino)) in visited:
        return
    visited.add(inode)
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_system_file(entry.name):
                continue
            if entry.is_dir():
                yield from _find_image_files(entry.path, unsupported, visited)
            elif entry.name.lower().endswith(IMAGE_ENDINGS):
                if not entry.is_file() and Path(entry.path).exists():  # opening a pipe would block
                    raise DataError(
                        f"{entry.path} is named like an image but is not a file: remove it"
                    )
                yield entry.path
            elif entry.name.lower().endswith(UNSUPPORTED_ENDINGS):
                unsupported.append(entry.path)


def _read_class_list(val: Path) -> dict[str, str] | None:
    """Read the class of each image in `val`, keyed by file stem; None if there is no list.

    Searches `val` and the four folders above it, because Kaggle's val is ILSVRC/Data/CLS-LOC/val.
    Raises DataError if the list cannot be read.
    """
    for folder in [val, *val.absolute().parents[:4]]:
        for name, read in CLASS_LIST_READERS.items():
            if (file := folder / name).is_file():
                try:
                    return read(file)
                except Exception as error:  # scipy raises many kinds of errors for damaged files
                    raise DataError(f"cannot read the list of classes {file}: {error}") from error
    return None


def _read_tiny_imagenet_list(file: Path) -> dict[str, str]:
    """Read lines of an image name, its class and a bounding box, separated by tabs."""
    rows = (line.split("\t") for line in _read_text(file).splitlines())
    return {Path(name).stem: class_name for name, class_name, *_box in rows}


def _read_kaggle_list(file: Path) -> dict[str, str]:
    """Read a table of images and "predictions" (class and box), like n03995372 85 1 499 272."""
    rows = csv.DictReader(_read_text(file).splitlines())
    return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}


def _read_devkit_list(file: Path) -> dict[str, str]:
    """Read the class number of image i from line i, and the class names from meta.mat."""
    from scipy.io import loadmat

    synsets = loadmat(str(file.with_name("meta.mat")), squeeze_me=True)["synsets"]
    names = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    numbers = [int(number) for number in _read_text(file).split()]
    return {f"ILSVRC2012_val_{image:08d}": names[number] for image, number in enumerate(numbers, 1)}


def _read_text(file: Path) -> str:
    return file.read_text(encoding="utf-8-sig")


_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
CLASS_LIST_READERS: dict[str, Callable[[Path], dict[str, str]]] = {
    "val_annotations.txt": _read_tiny_imagenet_list,
    "LOC_val_solution.csv": _read_kaggle_list,
    _GROUND_TRUTH: _read_devkit_list,
    f"data/{_GROUND_TRUTH}": _read_devkit_list,
    f"ILSVRC2012_devkit_t12/data/{_GROUND_TRUTH}": _read_devkit_list,
}
