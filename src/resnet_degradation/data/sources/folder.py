"""Folders of image files: train/<class>/* and val/<class>/* or test/<class>/*.

For held-out images, some data sets have a list of classes instead of class folders.
"""

import csv
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from resnet_degradation.data.dataset import Files, Images, Source
from resnet_degradation.system.errors import DataError

# torchvision's list. It is fixed, because reading more endings would add images to known data sets;
# files with other endings cause a warning.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
UNSUPPORTED_ENDINGS = (".gif", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".jxl", ".dng", ".svg")


# For images whose classes are unknown.
ADVICE = (
    "move each image into the folder of its class, or add the data set's list: "
    "LOC_val_solution.csv (ImageNet from Kaggle), the unpacked ILSVRC2012_devkit_t12 (ImageNet "
    "from image-net.org), or val/val_annotations.txt (Tiny ImageNet)"
)


def scan_folder(root: Path) -> Source:
    """The image files of train/<class>/* and of val/<class>/* or test/<class>/* (or both).

    If a list gives the classes of the images in val, the images may be in any folders below val.
    A held-out folder whose images have no classes is skipped with a warning if there is another.
    """
    train_root, held_out_roots = split_folders(root)
    classes = _class_names(train_root)
    if len(classes) < 2:
        raise DataError(
            f"{train_root} has {'one class folder' if classes else 'no class folders'}"
            f"{''.join(f' ({name})' for name in classes)}: expected two or more folders "
            f"{train_root}/<class>/ of image files"
        )
    held_out = {name: _held_out_images(folder, classes) for name, folder in held_out_roots.items()}
    known: dict[str, Images] = {
        name: images for name, images in held_out.items() if isinstance(images, Files)
    }
    problems = [problem for problem in held_out.values() if isinstance(problem, str)]
    if not known:
        raise DataError(f"{problems[0]}: {ADVICE}")
    for problem in problems:
        warnings.warn(f"{problem}: they are not used", stacklevel=2)
    return Source(_images_in_class_folders(train_root, classes), known, classes)


def _held_out_images(folder: Path, classes: list[str]) -> Files | str:
    """The images in val or test, or a message if their classes are unknown.

    Raises DataError if their classes are not those of the training images.
    """
    found = _class_names(folder)
    if found == classes:
        return _images_in_class_folders(folder, classes)
    listed = _read_class_list(folder) if folder.name == "val" else None
    if listed is not None:
        return _images_by_list(folder, classes, listed)
    if set(found) <= {"images"}:
        num_images = sum(1 for _ in _image_files(folder, []))
        if num_images == 0:
            raise DataError(f"{folder} has no images: expected {folder}/<class>/<image files>")
        return f"cannot find the classes of the {num_images:,} images in {folder}"
    raise DataError(_different_classes(folder, found, classes))


def _images_by_list(folder: Path, classes: list[str], listed: dict[str, str]) -> Files:
    """The image files in a folder, ordered by class and then name, as with class folders."""
    unsupported: list[str] = []
    paths = list(_image_files(folder, unsupported))
    _warn_about_unsupported(unsupported)
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

    sides = {
        f"only in {folder.name}": set(found) - set(classes),
        "only in train": set(classes) - set(found),
    }
    differences = [f"{side}: {some(names)}" for side, names in sides.items() if names]
    return (
        f"the classes in {folder} are not those in {folder.with_name('train')} "
        f"({'; '.join(differences)})"
    )


def split_folders(root: Path) -> tuple[Path, dict[str, Path]]:
    """The folders of training and held-out images; raises DataError if either is missing."""
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
            "RESNET_DATA, or train on the bundled images with data=digits"
        )
    return train_root, held_out_roots


def _class_names(folder: Path) -> list[str]:
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not _is_system_file(entry.name)
    )


def _images_in_class_folders(folder: Path, classes: list[str]) -> Files:
    paths: list[str] = []
    labels: list[int] = []
    unsupported: list[str] = []
    for label, name in enumerate(classes):
        found = sorted(_image_files(folder / name, unsupported))
        if not found:
            raise DataError(
                f"{folder / name} has no images: every class needs at least one file with an "
                f"ending of {', '.join(IMAGE_ENDINGS)}"
            )
        paths += found
        labels += [label] * len(found)
    _warn_about_unsupported(unsupported)
    return Files(str(folder), paths, torch.tensor(labels))


def _warn_about_unsupported(unsupported: list[str]) -> None:
    if unsupported:
        warnings.warn(
            f"{len(unsupported):,} files are not read, such as {unsupported[0]}: convert them to "
            "JPEG or PNG to use them",
            stacklevel=2,
        )


def _is_system_file(name: str) -> bool:
    """Whether a file or folder is hidden, or created by macOS or Synology."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def _image_files(
    folder: Path | str, unsupported: list[str], seen: set[tuple[int, int]] | None = None
) -> Iterator[str]:
    """The image files in a folder and below it, as strings: millions of Paths are slow.

    Images with other endings are added to `unsupported`. `seen` folders are skipped: links may
    make loops. Raises OSError for a folder that cannot be read.
    """
    seen = set() if seen is None else seen
    status = os.stat(folder)  # noqa: PTH116
    if (inode := (status.st_dev, status.st_ino)) in seen:
        return
    seen.add(inode)
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_system_file(entry.name):
                continue
            if entry.is_dir():
                yield from _image_files(entry.path, unsupported, seen)
            elif entry.name.lower().endswith(IMAGE_ENDINGS):
                if not entry.is_file() and Path(entry.path).exists():  # a pipe would block
                    raise DataError(f"{entry.path} is named like an image but is not a file")
                yield entry.path
            elif entry.name.lower().endswith(UNSUPPORTED_ENDINGS):
                unsupported.append(entry.path)


def _read_class_list(val: Path) -> dict[str, str] | None:
    """The class of each image in `val`, by its file name without the ending; None without a list.

    Searches `val` and four folders above it, because Kaggle's val is ILSVRC/Data/CLS-LOC/val.
    Raises DataError if the list cannot be read.
    """
    for folder in [val, *val.absolute().parents[:4]]:
        for name, read in READERS.items():
            if (file := folder / name).is_file():
                try:
                    return read(file)
                except Exception as error:  # scipy raises errors of many kinds on damaged files
                    raise DataError(f"cannot read the list of classes {file}: {error}") from error
    return None


def _tiny_imagenet(file: Path) -> dict[str, str]:
    """Each line has the image's name, its class and a bounding box, separated by tabs."""
    rows = (line.split("\t") for line in _text(file).splitlines())
    return {Path(name).stem: class_name for name, class_name, *_box in rows}


def _kaggle(file: Path) -> dict[str, str]:
    """A table of images and "predictions": a class and a box, such as n03995372 85 1 499 272."""
    rows = csv.DictReader(_text(file).splitlines())
    return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}


def _devkit(file: Path) -> dict[str, str]:
    """Line i has the number of the class of image i; meta.mat has the names of the classes."""
    from scipy.io import loadmat

    synsets = loadmat(str(file.with_name("meta.mat")), squeeze_me=True)["synsets"]
    names = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    numbers = [int(number) for number in _text(file).split()]
    return {f"ILSVRC2012_val_{image:08d}": names[number] for image, number in enumerate(numbers, 1)}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8-sig")


_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
READERS: dict[str, Callable[[Path], dict[str, str]]] = {
    "val_annotations.txt": _tiny_imagenet,
    "LOC_val_solution.csv": _kaggle,
    _GROUND_TRUTH: _devkit,
    f"data/{_GROUND_TRUTH}": _devkit,
    f"ILSVRC2012_devkit_t12/data/{_GROUND_TRUTH}": _devkit,
}
