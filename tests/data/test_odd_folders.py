"""Unusual folders of images, such as copied, unpacked or downloaded data sets, and photographs."""

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from support.training import Configure

from resnet_degradation.config.schema import Config
from resnet_degradation.data.build import find_images, make_batches
from resnet_degradation.data.dataset import Files, Source
from resnet_degradation.data.sources.folder import scan_folder
from resnet_degradation.data.views import read_image
from resnet_degradation.system.errors import DataError

CPU = torch.device("cpu")
Folder = Callable[..., Path]


def names(source: Source, split: str) -> list[str]:
    """The names of the files of a split."""
    images = source.splits()[split]
    assert isinstance(images, Files)
    return [Path(path).name for path in images.paths]


# --- files that file managers create ---


def test_what_macs_nas_boxes_and_notebooks_leave_is_neither_image_nor_class(
    digits_folder: Folder,
) -> None:
    root = digits_folder()
    usual = scan_folder(root)
    for split in ("train", "val"):
        folder = root / split
        for number in range(3):
            (folder / f"digit0/._{number:03d}.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
        (folder / "digit0/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        for debris in ("__MACOSX/digit0", "digit1/.ipynb_checkpoints", "digit2/@eaDir/000.png"):
            (folder / debris).mkdir(parents=True)
            shutil.copy(folder / "digit0/000.png", folder / debris / "copy.png")
    found = scan_folder(root)
    assert found.classes == usual.classes
    assert found.describe_contents() == usual.describe_contents()


# --- data sets as they are distributed ---


def flatten(root: Path, pattern: str, below: str = "") -> dict[str, str]:
    """Move the held-out images out of their class folders; return the class by new name."""
    classes = {}
    for number, file in enumerate(sorted(root.glob("val/*/*"))):
        # In another order than by class.
        name = pattern.format((number * 4) % 9 + 1)
        classes[Path(name).stem] = file.parent.name
        (root / "val" / below).mkdir(exist_ok=True)
        file.rename(root / "val" / below / name)
    for folder in root.glob("val/digit*"):
        folder.rmdir()
    return classes


def arranged(root: Path, classes: dict[str, str], below: str = "") -> Path:
    """Copy a data set and sort its held-out images into class folders."""
    copy = root.with_name("arranged")
    shutil.copytree(root, copy)
    for file in list((copy / "val" / below).glob("*.JPEG")):
        folder = copy / "val" / classes[file.stem]
        folder.mkdir(exist_ok=True)
        file.rename(folder / file.name)
    if below:
        (copy / "val" / below).rmdir()
    return copy


def tiny_imagenet(digits_folder: Folder) -> tuple[Path, dict[str, str]]:
    """Digits laid out as Tiny ImageNet is: its class folders have folders below them."""
    root = digits_folder(suffix=".JPEG")
    for folder in root.glob("train/*"):
        files = list(folder.iterdir())
        (folder / "images").mkdir()
        for file in files:
            file.rename(folder / "images" / file.name)
        (folder / f"{folder.name}_boxes.txt").write_text("000.JPEG\t0\t0\t11\t11\n")
    classes = flatten(root, "val_{}.JPEG", "images")
    rows = [f"{name}.JPEG\t{digit}\t0\t32\t44\t62\n" for name, digit in classes.items()]
    (root / "val/val_annotations.txt").write_text("".join(rows))
    (root / "test/images").mkdir(parents=True)
    shutil.copy(root / "val/images/val_1.JPEG", root / "test/images/test_0.JPEG")
    return root, classes


@pytest.mark.parametrize("recipe", ["cifar", "imagenet"])
def test_tiny_imagenet_as_distributed_is_as_if_arranged_by_class(
    configure: Configure, digits_folder: Folder, tmp_path: Path, recipe: str
) -> None:
    root, classes = tiny_imagenet(digits_folder)
    shown = []
    for place in (root, arranged(root, classes, "images")):
        config = configure(
            "data=folder", f"data.root={place}", "depth=18", f"recipe={recipe}",
            "data.image_size=12", "recipe.batch_size=8", "runtime.num_workers=0",
            f"output_dir={tmp_path}",
        )  # fmt: skip
        with pytest.warns(UserWarning, match=r"classes of the 1 images in .*/test: they are not"):
            source = find_images(config)
        assert source.classes == ["digit0", "digit1", "digit2"]
        assert {name: len(images) for name, images in source.splits().items()} == {
            "train": 24,
            "val": 9,
        }
        batches = make_batches(source, config, CPU)
        shown.append([*batches.training(0, 3), *batches.held_out("val")])
    for (images, labels), (images_arranged, labels_arranged) in zip(*shown, strict=True):
        assert torch.equal(images, images_arranged)
        assert torch.equal(labels, labels_arranged)


def write_kaggles_list(root: Path, classes: dict[str, str]) -> Path:
    """ImageNet as Kaggle has it: ILSVRC/Data/CLS-LOC/{train,val,test} and a table far above."""
    top = root.with_name("kaggle")
    (top / "ILSVRC/Data").mkdir(parents=True)
    root = root.rename(top / "ILSVRC/Data/CLS-LOC")
    rows = [f"{name},{digit} 85 1 499 272 {digit} 1 2 3 4\n" for name, digit in classes.items()]
    (top / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows))
    return root


def write_devkit(root: Path, classes: dict[str, str]) -> Path:
    """ImageNet's own development kit: numbers of classes, which are in no order of their names."""
    folder = root / "ILSVRC2012_devkit_t12/data"
    folder.mkdir(parents=True)
    numbers = {"digit0": 2, "digit1": 3, "digit2": 1}
    lines = [f"{numbers[classes[name]]}\n" for name in sorted(classes)]
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(lines))
    fields = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
    synsets = np.array([(number, name, "words") for name, number in numbers.items()], dtype=fields)
    savemat(folder / "meta.mat", {"synsets": synsets})
    return root


@pytest.mark.parametrize("write_list", [write_kaggles_list, write_devkit])
def test_imagenets_flat_validation_images_are_read_by_its_lists(
    digits_folder: Folder, write_list: Callable[[Path, dict[str, str]], Path]
) -> None:
    root = digits_folder(suffix=".JPEG")
    classes = flatten(root, "ILSVRC2012_val_{:08d}.JPEG")
    (root / "test").mkdir()
    shutil.copy(root / "val/ILSVRC2012_val_00000001.JPEG", root / "test/ILSVRC2012_test_1.JPEG")
    root = write_list(root, classes)
    with pytest.warns(UserWarning, match="they are not used"):
        source = scan_folder(root)
    val = source.held_out["val"]
    expected = sorted((digit, f"{name}.JPEG") for name, digit in classes.items())
    assert names(source, "val") == [name for _, name in expected]
    assert [source.classes[label] for label in val.labels.tolist()] == [c for c, _ in expected]


def test_images_without_class_folders_or_list_are_refused_with_what_to_do(
    digits_folder: Folder,
) -> None:
    root = digits_folder(suffix=".JPEG")
    classes = flatten(root, "ILSVRC2012_val_{:08d}.JPEG")
    with pytest.raises(DataError) as caught:
        scan_folder(root)
    message = str(caught.value)
    assert f"the classes of the 9 images in {root}/val" in message
    for part in ("LOC_val_solution.csv", "ILSVRC2012_devkit_t12", "val_annotations.txt"):
        assert part in message
    assert "\n" not in message
    first, *others = classes
    annotations = root / "val/val_annotations.txt"
    annotations.write_text("".join(f"{name}.JPEG\t{classes[name]}\n" for name in others))
    with pytest.raises(DataError, match=f"list of classes does not name .*/val/{first}.JPEG"):
        scan_folder(root)
    annotations.write_text("".join(f"{name}.JPEG\tdigit9\n" for name in classes))
    with pytest.raises(DataError, match=r"only in val: digit9; only in train: digit0, digit1"):
        scan_folder(root)
    annotations.write_text("no tabs here\n")
    with pytest.raises(DataError, match=r"cannot read the list of classes .*val_annotations.txt"):
        scan_folder(root)


# --- little shared memory, which is usual in containers ---

DECODE = """
import sys
from functools import partial
from pathlib import Path
import torch
from resnet_degradation.data.decode import decode_views, request_all_images
from resnet_degradation.data.sources.folder import scan_folder
from resnet_degradation.data.views import read_centre_view
from resnet_degradation.system.errors import UserError, use_one_line_warnings

use_one_line_warnings()
files = scan_folder(Path(sys.argv[1])).train
view = partial(read_centre_view, image_size=224, shorter_side=224)
try:
    alone, helped = (
        list(decode_views(files, view, request_all_images(len(files), 12), workers)) for workers in (0, 2)
    )
    assert all(map(torch.equal, alone, helped)), "images differ"
except UserError as error:
    print(f"error: {error}", file=sys.stderr)
"""
SMALL_MEMORY = 'mount -t tmpfs -o size="$0" tmpfs /dev/shm && exec "$@"'


def in_small_memory(size: str, *command: str) -> list[str]:
    """Run a command with a /dev/shm of this size; return the lines of its error output."""
    private = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL_MEMORY, size)
    try:
        subprocess.run([*private, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system does not let a process mount a file system")
    done = subprocess.run(
        [*private, *command], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("1m", "warning: /dev/shm is too small for the images that worker processes decode"),
        ("4k", "error: cannot start the processes that decode images (No space left on device)"),
        ("16k", "error: cannot start the processes that decode images (No space left on device)"),
    ],
)
def test_little_shared_memory_costs_no_image_and_is_reported_at_once(
    digits_folder: Folder, size: str, said: str
) -> None:
    root = digits_folder(suffix=".jpg")
    (line,) = in_small_memory(size, sys.executable, "-c", DECODE, str(root))
    assert line.startswith(said)
    assert "--shm-size=" in line
    assert "runtime.num_workers=0" in line


# --- reports of users of similar tools ---


def test_one_class_is_refused(digits_folder: Folder) -> None:
    root = digits_folder()
    for split in ("train", "val"):
        (root / f"{split}-all").mkdir()
        (root / split).rename(root / f"{split}-all/digits")
        (root / f"{split}-all").rename(root / split)
    with pytest.raises(DataError, match=r"/train has one class folder \(digits\): expected two"):
        scan_folder(root)


def test_images_in_formats_that_are_not_read_are_pointed_out(digits_folder: Folder) -> None:
    root = digits_folder()
    for number, ending in enumerate((".gif", ".HEIC", ".avif")):
        (root / f"train/digit{number}/extra{ending}").write_bytes(b"an image")
    with pytest.warns(UserWarning, match=r"3 files are not read, such as .*/digit0/extra.gif"):
        assert len(scan_folder(root).train) == 24


def test_a_windows_zip_unpacked_without_folders_is_recognized(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / f"{split}\\cat\\0.png").write_bytes(b"an image")
    with pytest.raises(DataError, match=r"backslashes.*unpack it again, with the command unzip"):
        scan_folder(tmp_path)


@pytest.mark.parametrize("turned", [1, 8])
def test_photographs_that_are_stored_turned_are_pointed_out(
    configure: Configure, digits_folder: Folder, turned: int
) -> None:
    root = digits_folder(suffix=".jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(turned):
        file = root / f"train/digit1/{number:03d}.jpg"
        Image.open(file).save(file, exif=exif)
    config = configure("data=folder", f"data.root={root}", "depth=8")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        find_images(config)
    said = [str(warning.message) for warning in caught]
    if turned == 8:
        assert said[0].startswith(f"8 of 24 images in {root}/train are stored rotated or mirrored")
    assert len(said) == (turned == 8)


def test_pillows_warnings_about_transparency_and_metadata_are_not_shown(tmp_path: Path) -> None:
    pixels = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    pixels.convert("P").save(tmp_path / "palette.png", transparency=bytes(range(256)))
    pixels.save(tmp_path / "exif.jpg", exif=b"Exif\0\0II*\0garbage")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("palette.png", "exif.jpg"):
            assert read_image(str(tmp_path / name)).size == (8, 8)


@pytest.mark.parametrize("recipe", ["cifar", "imagenet"])
def test_a_cache_that_cannot_be_written_does_not_end_the_run(
    configure: Configure, digits_folder: Folder, tmp_path: Path, recipe: str
) -> None:
    root = digits_folder()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.cache").write_text("a file where the folder should be")
    config = configure(
        "data=folder", f"data.root={root}", "depth=18", f"recipe={recipe}", "data.image_size=12",
        "recipe.batch_size=8", "runtime.num_workers=0", f"output_dir={tmp_path / 'out'}",
        "data.on_error=skip",
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"cannot cache .*\(File exists: .*/.cache\): the next"):
        batches = make_batches(find_images(config), config, CPU)
    images, _ = next(batches.training(0, 1))
    assert images.shape == (8, 3, 12, 12)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode on other systems")
def test_class_names_that_are_not_unicode_are_read(digits_folder: Folder) -> None:
    root = digits_folder()
    for split in ("train", "val"):
        folder = os.fsencode(root / split)
        (root / split / "digit1").rename(Path(os.fsdecode(folder + b"/caf\x82")))
    source = scan_folder(root)
    assert [os.fsencode(name) for name in source.classes] == [b"caf\x82", b"digit0", b"digit2"]
    assert len(source.train) == 24
