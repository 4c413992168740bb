"""Lists of the classes of held-out images, which some data sets have instead of class folders."""

import csv
from collections.abc import Callable
from pathlib import Path

from resnet_degradation.system.errors import DataError

# For images whose classes are unknown.
ADVICE = (
    "move each image into the folder of its class, or add the data set's list: "
    "LOC_val_solution.csv (ImageNet from Kaggle), the unpacked ILSVRC2012_devkit_t12 (ImageNet "
    "from image-net.org), or val/val_annotations.txt (Tiny ImageNet)"
)


def read_class_list(val: Path) -> dict[str, str] | None:
    """The class of each image in `val`, by the image's file name without its ending; or None.

    Searches `val` and the folders above it, as far up as Kaggle's ILSVRC/Data/CLS-LOC/val needs.
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
    """Lines of: name of the image, class, bounding box; separated by tabs."""
    rows = (line.split("\t") for line in _text(file).splitlines())
    return {Path(name).stem: class_name for name, class_name, *_box in rows}


def _kaggle(file: Path) -> dict[str, str]:
    """A table of images and predictions, such as "n03995372 85 1 499 272": a class and a box."""
    rows = csv.DictReader(_text(file).splitlines())
    return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}


def _devkit(file: Path) -> dict[str, str]:
    """The number of each image's class, in the images' order; meta.mat has the classes' names."""
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
