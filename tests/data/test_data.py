"""The order, crops and normalization of images follow the recipe for every kind of batches."""

import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.training import Configure

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.config.schema import Config
from resnet_degradation.data import cache
from resnet_degradation.data.batches import Batches
from resnet_degradation.data.build import find_images, make_batches
from resnet_degradation.data.cache import load_or_compute
from resnet_degradation.data.channel_statistics import channel_statistics
from resnet_degradation.data.dataset import Arrays, evenly_spaced_indices
from resnet_degradation.data.decode import DecodeStats
from resnet_degradation.data.in_memory import MemoryBatches
from resnet_degradation.data.sampling import batch_indices, draw_crops
from resnet_degradation.data.sources.digits import load_digits, read_digits_table
from resnet_degradation.data.sources.folder import scan_folder
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.data.streaming import StreamBatches
from resnet_degradation.data.views import read_image, read_jittered_view
from resnet_degradation.system.errors import DataError
from resnet_degradation.training.meters import ThroughputMonitor

CPU = torch.device("cpu")


def load_batches(config: Config, device: torch.device) -> Batches:
    return make_batches(load_source(config.data), config, device)


Folder = Callable[..., Path]


@given(num_images=st.integers(1, 60), batch_size=st.integers(1, 70), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_epoch_shows_every_image_once(num_images: int, batch_size: int, seed: int) -> None:
    num_batches = -(-2 * num_images // batch_size)
    stream = torch.cat([batch_indices(seed, k, batch_size, num_images) for k in range(num_batches)])
    for epoch in range(2):
        shown = stream[epoch * num_images : (epoch + 1) * num_images]
        assert sorted(shown.tolist()) == list(range(num_images))


def test_order_is_a_pure_function_of_seed_and_iteration() -> None:
    late = batch_indices(5, 40, 32, 100)
    for other in range(3):
        batch_indices(other, other, 32, 100)
    assert torch.equal(batch_indices(5, 40, 32, 100), late)
    assert not torch.equal(batch_indices(6, 40, 32, 100), late)


def memory_batches() -> MemoryBatches:
    config = compose_config(
        "depth=8", "data.image_size=8", "recipe.batch_size=16", "seed=1", "recipe.pad=2",
        "recipe.mirror=true", "runtime.eval_batch_size=100",
    )  # fmt: skip
    return MemoryBatches(load_source(config.data), config, CPU)


def test_batches_equal_subtracting_the_mean_padding_cropping_and_mirroring_one_by_one() -> None:
    batches = memory_batches()
    train = load_digits(8).train
    assert isinstance(train, Arrays)
    mean = train.images.double().mean(dim=0) / 255
    for iteration in (0, 7, 123):
        images, labels = next(batches.training(iteration, iteration + 1))
        indices = batch_indices(1, iteration, 16, len(train))
        crops = draw_crops(1, iteration, 16, pad=2, mirror=True)
        for i, index in enumerate(indices.tolist()):
            padded = torch.zeros(3, 12, 12, dtype=torch.float64)
            padded[:, 2:10, 2:10] = train.images[index] / 255 - mean
            top, left = int(crops.top[i]), int(crops.left[i])
            view = padded[:, top : top + 8, left : left + 8]
            view = view.flip(-1) if crops.mirrored[i] else view
            torch.testing.assert_close(images[i].double(), view, atol=1e-6, rtol=0)
            assert labels[i] == train.labels[index]


def test_crops_are_uniform_and_mirroring_is_fair() -> None:
    crops = [draw_crops(0, k, 100, pad=4, mirror=True) for k in range(90)]
    counts = torch.bincount(torch.cat([c.top for c in crops]), minlength=9)
    assert counts.shape == (9,)
    assert (counts - 1000).abs().max() < 5 * 1000**0.5
    assert abs(torch.cat([c.mirrored for c in crops]).float().mean() - 0.5) < 5 * 0.5 / 9000**0.5


def test_without_mirroring_the_crops_stay_the_same_and_nothing_is_mirrored() -> None:
    with_mirror, without = (draw_crops(0, 3, 50, 4, mirror) for mirror in (True, False))
    assert torch.equal(with_mirror.left, without.left)
    assert not without.mirrored.any()


def test_batches_do_not_depend_on_where_the_run_started() -> None:
    batches = memory_batches()
    whole = list(batches.training(0, 6))
    resumed = list(batches.training(4, 6))
    for (images, labels), (again, labels_again) in zip(whole[4:], resumed, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)


def test_images_are_channels_last_for_the_convolutions() -> None:
    images, _ = next(memory_batches().training(0, 1))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_held_out_images_are_the_originals_minus_the_training_mean() -> None:
    batches = memory_batches()
    source = load_digits(8)
    train, val = source.train, source.held_out["val"]
    assert isinstance(train, Arrays)
    assert isinstance(val, Arrays)
    shown = torch.cat([images for images, _ in batches.held_out("val")])
    mean = train.images.double().mean(dim=0) / 255
    torch.testing.assert_close(shown.double(), val.images / 255 - mean, atol=1e-6, rtol=0)


def test_channel_mean_is_one_number_a_channel(configure: Configure) -> None:
    small = ("depth=8", "data.image_size=8")
    of_channels, of_pixels = (
        load_batches(configure(*small, f"data.mean={mean}"), CPU).mean
        for mean in ("channel", "pixel")
    )
    assert of_channels.shape == (3, 1, 1)
    torch.testing.assert_close(of_channels, of_pixels.mean(dim=(1, 2), keepdim=True))


def test_mean_and_deviation_can_be_given(configure: Configure) -> None:
    small = ("depth=8", "data.image_size=8", "recipe.augmentation=none")
    given = configure(*small, "data.mean=[0.5,0.25,0.75]", "data.std=[0.5,0.25,1]")
    batches, usual = load_batches(given, CPU), load_batches(configure(*small), CPU)
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.5, 0.25, 0.75], [0.5, 0.25, 1.0]))
    for ours, theirs in (
        (next(batches.training(3, 4)), next(usual.training(3, 4))),
        (next(batches.held_out("val")), next(usual.held_out("val"))),
    ):
        pixels = theirs[0] + usual.mean
        torch.testing.assert_close(ours[0], (pixels - mean) / std, atol=1e-5, rtol=0)


def test_digits_are_split_into_1437_and_360_without_overlap() -> None:
    source = load_digits(16)
    train, val = source.train, source.held_out["val"]
    assert isinstance(train, Arrays)
    assert isinstance(val, Arrays)
    assert (len(train), len(val)) == (1437, 360)
    assert train.images.shape == (1437, 3, 16, 16)
    assert train.labels.bincount().min() > 100
    from sklearn.datasets import load_digits as sklearn_digits

    original = sklearn_digits()
    labels = torch.cat([train.labels, val.labels])
    assert torch.equal(labels.bincount(), torch.tensor(original.target).bincount())
    read = read_digits_table()
    assert np.array_equal(read, np.column_stack([original.data, original.target]))
    assert np.array_equal(read[:, :64].reshape(-1, 8, 8), original.images)


def test_a_validation_split_takes_training_images_and_leaves_the_test_set(
    configure: Configure,
) -> None:
    config = configure("data.validation_fraction=0.1", "data.image_size=8")
    source = load_source(config.data)
    whole = load_digits(8)
    assert (len(source.train), len(source.held_out["val"])) == (1293, 144)
    assert isinstance(source.train, Arrays)
    parts = [source.train, source.held_out["val"], whole.train]
    images = [part.images.flatten(1) for part in parts if isinstance(part, Arrays)]
    joined = torch.cat(images[:2])
    assert sorted(map(bytes, joined.numpy())) == sorted(map(bytes, images[2].numpy()))
    test = source.held_out["test"]
    assert isinstance(test, Arrays)
    assert torch.equal(test.images, whole.held_out["val"].images)  # type: ignore[union-attr]


# --- folders ---


def test_a_folder_is_read_in_the_order_of_its_classes(
    configure: Configure, digits_folder: Folder
) -> None:
    root = digits_folder()
    config = configure("data=folder", f"data.root={root}", "depth=8", "data.image_size=12")
    batches = load_batches(config, CPU)
    assert isinstance(batches, MemoryBatches)
    assert (batches.num_train, batches.splits, batches.num_classes) == (24, {"val": 9}, 3)
    _, labels = next(iter(batches.held_out("val")))
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    pixels = np.asarray(Image.open(root / "val/digit1/001.png")).transpose(2, 0, 1) / 255
    images, _ = next(iter(batches.held_out("val")))
    torch.testing.assert_close(
        images[4] + batches.mean, torch.from_numpy(pixels).float(), atol=1e-6, rtol=0
    )


def test_a_folder_may_have_validation_and_test_images(digits_folder: Folder) -> None:
    source = scan_folder(digits_folder(held_out=("val", "test")))
    assert {name: len(images) for name, images in source.held_out.items()} == {"val": 9, "test": 9}


def test_greyscale_palette_and_other_sizes_are_brought_to_rgb_squares(
    configure: Configure, digits_folder: Folder
) -> None:
    root = digits_folder()
    for name, mode in (("000", "L"), ("001", "P"), ("002", "RGBA")):
        file = root / f"train/digit0/{name}.png"
        Image.open(file).convert(mode).resize((30, 20)).save(file)
    config = configure("data=folder", f"data.root={root}", "depth=8", "data.image_size=12")
    images, _ = next(load_batches(config, CPU).training(0, 1))
    assert images.shape == (128, 3, 12, 12)


def test_pixels_of_16_bits_keep_their_brightness(tmp_path: Path) -> None:
    bright = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(bright).save(tmp_path / "deep.png")
    Image.fromarray((bright >> 8).astype(np.uint8)).save(tmp_path / "usual.png")
    deep, usual = (read_image(str(tmp_path / f"{name}.png")) for name in ("deep", "usual"))
    assert deep.tobytes() == usual.tobytes()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (20, 20), (200, 30, 40))
    red.convert("CMYK").save(tmp_path / "red.jpg", quality=95)
    assert Image.open(tmp_path / "red.jpg").mode == "CMYK"
    pixels = np.asarray(read_image(str(tmp_path / "red.jpg"))).astype(int)
    assert abs(pixels - np.array([200, 30, 40])).max() < 8


def write_elongated(file: Path) -> None:
    Image.new("RGB", (6000, 100)).save(file)


def write_absurdly_large(file: Path) -> None:
    # Blank pixels compress well: a small file that would fill the memory.
    Image.new("1", (20_000, 20_000)).save(file)


def write_floats(file: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)).save(file, "TIFF")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_elongated, "6000x100 is too elongated"),
        (write_absurdly_large, "exceeds limit"),
        (write_floats, "pixels are not bytes"),
    ],
)
def test_images_that_cannot_be_converted_are_named(
    tmp_path: Path, write: Callable[[Path], None], reason: str
) -> None:
    write(tmp_path / "odd.png")
    with pytest.raises(DataError, match=f"cannot read the image .*/odd.png .*{reason}"):
        read_image(str(tmp_path / "odd.png"))


def remove(*parts: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for part in parts:
            for file in sorted((root / part).rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
            (root / part).rmdir()

    return act


def empty_class(root: Path) -> None:
    for file in (root / "train/digit1").iterdir():
        file.unlink()


def spoil(root: Path) -> None:
    (root / "train/digit1/002.png").write_bytes(b"this is no image")


def truncate(root: Path) -> None:
    file = root / "train/digit2/001.png"
    file.write_bytes(file.read_bytes()[:60])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("train"), "looked for the folder .*/images/train"),
        (remove("val"), "looked for the folder .*/images/val or .*/images/test"),
        (remove("val/digit1"), "classes in .*/val differ from those in .*/train.*digit1"),
        (empty_class, ".*/train/digit1 has no images"),
        (spoil, "cannot read the image .*/train/digit1/002.png"),
        (truncate, "cannot read the image .*/train/digit2/001.png"),
    ],
)
@pytest.mark.parametrize("recipe", ["cifar", "imagenet"])
def test_an_error_in_a_data_folder_names_its_path(
    configure: Configure,
    digits_folder: Folder,
    tmp_path: Path,
    damage: Callable[[Path], None],
    message: str,
    recipe: str,
) -> None:
    root = digits_folder()
    damage(root)
    config = configure(
        "data=folder", f"data.root={root}", "depth=18", f"recipe={recipe}", "data.image_size=12",
        "recipe.batch_size=24", f"output_dir={tmp_path}", "runtime.num_workers=1",
    )  # fmt: skip
    with pytest.raises(DataError, match=message) as caught:
        list(load_batches(config, CPU).training(0, 1))
    assert "\n" not in str(caught.value)


# --- images that cannot be read, left out ---


SPOILT = ("train/digit1/002.png", "train/digit2/001.png", "val/digit0/001.png")


def spoil_some(root: Path) -> None:
    spoil(root)
    truncate(root)
    (root / "val/digit0/001.png").write_bytes(b"")


@pytest.mark.parametrize("recipe", ["cifar", "imagenet"])
def test_skipping_what_cannot_be_read_is_as_if_it_were_not_there(
    configure: Configure, digits_folder: Folder, tmp_path: Path, recipe: str
) -> None:
    root = digits_folder()
    spoil_some(root)
    config = configure(
        "data=folder", f"data.root={root}", "depth=18", f"recipe={recipe}", "data.image_size=12",
        "recipe.batch_size=10", f"output_dir={tmp_path}", "runtime.num_workers=0",
        "data.on_error=skip",
    )  # fmt: skip
    reported: list[tuple[str, int, int]] = []
    source = find_images(config, lambda *work: reported.append(work))
    assert [(split, reason.partition(" (")[0]) for split, reason in source.skipped] == [
        (path.partition("/")[0], str(root / path)) for path in SPOILT
    ]
    assert reported == [("checking images", 24, 24), ("checking images", 9, 9)]
    found = make_batches(source, config, CPU)
    for path in SPOILT:
        (root / path).unlink()
    left = make_batches(scan_folder(root), config, CPU)
    assert (found.num_train, found.splits) == (left.num_train, left.splits) == (22, {"val": 8})
    pairs = [
        *zip(found.training(0, 4), left.training(0, 4), strict=True),
        *zip(found.held_out("val"), left.held_out("val"), strict=True),
    ]
    for (images, labels), (images_left, labels_left) in pairs:
        assert torch.equal(images, images_left)
        assert torch.equal(labels, labels_left)


def test_a_validation_set_is_split_off_what_can_be_read(
    configure: Configure, digits_folder: Folder, tmp_path: Path
) -> None:
    root = digits_folder()
    (root / "train/digit1/002.png").unlink()
    (root / "train/digit1/002.png").symlink_to(root / "nowhere.png")
    config = configure(
        "data=folder", f"data.root={root}", "depth=8", f"output_dir={tmp_path}",
        "data.on_error=skip", "data.validation_fraction=0.3",
    )  # fmt: skip
    found = find_images(config)
    assert len(found.skipped) == 1
    (root / "train/digit1/002.png").unlink()
    assert find_images(config).describe_contents() == found.describe_contents()


def test_files_are_checked_once(
    configure: Configure, digits_folder: Folder, tmp_path: Path
) -> None:
    root = digits_folder()
    spoil_some(root)
    config = configure(
        "data=folder", f"data.root={root}", "depth=8", f"output_dir={tmp_path}",
        "data.on_error=skip",
    )  # fmt: skip
    first = find_images(config)
    reported: list[tuple[str, int, int]] = []
    assert find_images(config, lambda *work: reported.append(work)).skipped == first.skipped
    assert reported == []
    shutil.copy(root / "train/digit1/003.png", root / "train/digit1/002.png")
    fixed = find_images(config, lambda *work: reported.append(work))
    assert len(fixed.skipped) == 2
    assert reported == [("checking images", 24, 24)]  # the other images have not changed


def test_a_class_of_which_no_image_can_be_read_is_named(
    configure: Configure, digits_folder: Folder, tmp_path: Path
) -> None:
    root = digits_folder()
    for file in (root / "train/digit1").iterdir():
        file.write_bytes(b"")
    config = configure(
        "data=folder", f"data.root={root}", "depth=8", f"output_dir={tmp_path}",
        "data.on_error=skip",
    )  # fmt: skip
    with pytest.raises(DataError, match="no train image of class digit1 can be read"):
        find_images(config)


# --- how fast images come ---


def test_decode_stats_count_images_and_the_time_they_take(
    configure: Configure, digits_folder: Folder
) -> None:
    batches = streamed(configure, digits_folder(size=24))
    list(batches.training(0, 3))
    stats = batches.decode_stats
    assert stats is not None
    assert stats.num_images == 30
    # Without worker processes, the whole time of decoding is waiting time.
    assert 0 < stats.decode_seconds <= stats.wait_seconds
    list(batches.held_out("val"))
    assert stats.num_images == 30  # images of training, without those of evaluations


def test_slow_data_is_called_the_bottleneck_once(recwarn: pytest.WarningsRecorder) -> None:
    stats = DecodeStats()
    monitor = ThroughputMonitor("plain-18", stats, num_workers=2)
    for _ in range(4):
        stats.num_images += 100
        stats.decode_seconds += 0.5
        stats.wait_seconds += 6.0
        throughput = monitor.measure_recent(10.0)
        assert throughput is not None
        assert (throughput.decoded_per_second, throughput.waiting_percent) == (200.0, 60.0)
    (warning,) = recwarn
    assert "60 % of the time is spent waiting" in str(warning.message)
    assert "5 ms of CPU time" in str(warning.message)
    assert "at most 400 images per second" in str(warning.message)
    overall = monitor.summary()
    assert overall == {"num_workers": 2, "decoded_per_second": 200.0, "waiting_percent": 60.0}


def test_data_that_keeps_up_and_data_in_memory_are_not_complained_of(
    recwarn: pytest.WarningsRecorder,
) -> None:
    stats = DecodeStats()
    monitor, none = ThroughputMonitor("plain-18", stats, 2), ThroughputMonitor("plain-18", None, 2)
    for _ in range(4):
        stats.wait_seconds += 0.1
        monitor.measure_recent(10.0)
        assert none.measure_recent(10.0) is None
    assert none.summary() is None
    assert len(recwarn) == 0


# --- streaming, section 3.4 ---


def streamed(configure: Configure, root: Path, *overrides: str) -> StreamBatches:
    config = configure(
        "data=imagenet", f"data.root={root}", "depth=18", "data.image_size=16",
        "recipe.batch_size=10", f"output_dir={root.parent / 'out'}", "runtime.num_workers=0",
        *overrides,
    )  # fmt: skip
    batches = load_batches(config, CPU)
    assert isinstance(batches, StreamBatches)
    return batches


def test_streamed_batches_depend_neither_on_workers_nor_on_where_the_run_started(
    configure: Configure, digits_folder: Folder
) -> None:
    root = digits_folder(size=24, suffix=".jpg")
    alone = list(streamed(configure, root).training(0, 4))
    helped = list(streamed(configure, root, "runtime.num_workers=2").training(2, 4))
    for (images, labels), (again, labels_again) in zip(alone[2:], helped, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)
    assert not torch.equal(alone[0][0], alone[1][0])


def test_training_views_are_crops_of_resized_images_or_of_their_mirrors(tmp_path: Path) -> None:
    """Every pixel of this image encodes its position, so the place and size of a crop are known."""
    rows, columns = np.mgrid[0:200, 0:200]
    pixels = np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "places.png")
    view = partial(read_jittered_view, seed=0, image_size=50, scale=(60, 100), mirror=True)
    shorter_sides, tops, mirrored = [], [], []
    for number in range(300):
        image = view(str(tmp_path / "places.png"), number, 0).float()
        down, right = image[0, -5, 0] - image[0, 5, 0], image[1, 0, -5] - image[1, 0, 5]
        shorter_sides.append(200 * 40 / float(down))
        tops.append(float(image[0, 0, 0]))
        mirrored.append(bool(right < 0))
        assert abs(abs(right) - down) <= 2  # the scale is the same in both directions
    assert 58 < min(shorter_sides) < 63
    assert 95 < max(shorter_sides) < 105
    assert 110 < sum(mirrored) < 190
    assert min(tops) < 5
    assert max(tops) > 80
    again = [view(str(tmp_path / "places.png"), 7, 3) for _ in range(2)]
    assert torch.equal(*again)


def test_statistics_are_sampled_from_all_classes() -> None:
    for num_images in (5, 10_000, 15_000, 19_999, 1_281_167):
        chosen = evenly_spaced_indices(num_images, 10_000)
        assert len(chosen) == min(num_images, 10_000)
        assert len(set(chosen.tolist())) == len(chosen)
        assert chosen[-1] >= num_images - num_images / 5_000 - 1


def test_the_shorter_side_is_sampled_between_8_7ths_and_15_7ths_of_the_crop(
    configure: Configure,
) -> None:
    assert configure("data=imagenet", "depth=18", "data.image_size=64").recipe.scale == [73, 137]
    assert configure("data=imagenet", "depth=18").recipe.scale == [256, 480]


def test_streamed_held_out_images_are_centre_crops_minus_the_mean(
    configure: Configure, digits_folder: Folder
) -> None:
    root = digits_folder(size=24)
    batches = streamed(configure, root, "runtime.eval_batch_size=4")
    shown = torch.cat([images for images, _ in batches.held_out("val")])
    assert len(shown) == batches.splits["val"] == 9
    transform = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(18), torchvision.transforms.CenterCrop(16)]
    )
    files = sorted((root / "val").rglob("*.png"))
    for image, file in zip(shown, files, strict=True):
        pixels = np.asarray(transform(Image.open(file))).transpose(2, 0, 1) / 255
        torch.testing.assert_close(
            image + batches.mean, torch.from_numpy(pixels).float(), atol=1e-6, rtol=0
        )


def test_colour_statistics_equal_numpys(digits_folder: Folder, tmp_path: Path) -> None:
    root = digits_folder(size=16)
    tinted = np.random.default_rng(0)
    for file in root.rglob("*.png"):
        pixels = np.asarray(Image.open(file)) * tinted.uniform(0.2, 1, 3)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    files = scan_folder(root).train
    mean, axes = channel_statistics(files, 16, 16, 0, tmp_path / "cache")  # type: ignore[arg-type]
    images = np.stack([np.asarray(Image.open(path)) for path in files.paths]) / 255  # type: ignore[union-attr]
    covariance = np.cov(images.reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(mean, images.mean(0).transpose(2, 0, 1), atol=1e-6)
    vectors = axes / axes.norm(dim=0)
    np.testing.assert_allclose(axes @ vectors.T, covariance, atol=1e-6)
    cached = channel_statistics(files, 16, 16, 0, tmp_path / "cache")  # type: ignore[arg-type]
    assert torch.equal(cached[0], mean)


def test_colour_augmentation_shifts_whole_images_along_the_principal_components(
    configure: Configure, digits_folder: Folder
) -> None:
    root = digits_folder(size=24)
    shifted, _ = next(streamed(configure, root).training(0, 1))
    plain, _ = next(streamed(configure, root, "recipe.colour_std=0").training(0, 1))
    difference = (shifted - plain).flatten(2)
    assert float(difference.std(dim=2).max()) < 1e-6
    # Digits are grey, so their only component is grey, and so is the shift.
    assert float(difference.std(dim=1).max()) < 1e-6
    assert float(difference.abs().max()) > 0


def test_a_given_mean_is_subtracted_with_colour_augmentation_too(
    configure: Configure, digits_folder: Folder
) -> None:
    given = ("data.mean=[0.4,0.5,0.6]", "data.std=[0.2,0.2,0.2]")
    batches = streamed(configure, digits_folder(size=24), *given)
    assert batches.config.recipe.colour_std > 0
    assert torch.equal(batches.mean.flatten(), torch.tensor([0.4, 0.5, 0.6]))


def test_arrays_have_no_scale_to_jitter(configure: Configure) -> None:
    config = configure("recipe=imagenet", "depth=18")
    with pytest.raises(Exception, match="needs image files, and data=digits has none"):
        load_batches(config, CPU)


# --- CIFAR ---


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """Real digits in CIFAR-10's file format; torchvision's list gets the checksums of these files."""
    from torchvision.datasets.utils import calculate_md5

    digits = load_digits(32).train
    assert isinstance(digits, Arrays)
    pixels = digits.images[:60].flatten(1).numpy()
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for i, name in enumerate(names):
        content = {"data": pixels[10 * i : 10 * i + 10], "labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps(content))
    meta = {"label_names": [str(i) for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta))
    listed = [[name, calculate_md5(folder / name)] for name in names]
    cifar10 = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar10, "train_list", listed[:5])
    monkeypatch.setattr(cifar10, "test_list", listed[5:])
    md5 = calculate_md5(folder / "batches.meta")
    monkeypatch.setattr(cifar10, "meta", {**cifar10.meta, "md5": md5})
    return pixels


def test_cifar10_is_read_from_its_own_files(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = write_cifar10(tmp_path, monkeypatch)
    config = configure("data=cifar10", f"data.root={tmp_path}")
    source = load_source(config.data)
    train, test = source.train, source.held_out["test"]
    assert isinstance(train, Arrays)
    assert isinstance(test, Arrays)
    assert (len(train), len(test)) == (50, 10)
    assert np.array_equal(train.images.flatten(1).numpy(), pixels[:50])
    assert test.labels.tolist() == list(range(10))


def test_damaged_cifar10_is_never_read(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py/data_batch_3").write_bytes(b"other bytes")
    config = configure("data=cifar10", f"data.root={tmp_path}", "data.download=false")
    with pytest.raises(DataError, match=r"cifar10 was not found: looked for .*cifar-10-batches-py"):
        load_source(config.data)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenette"])
def test_a_failed_download_says_where_to_put_the_data(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def no_network(*_arguments: object, **_options: object) -> None:
        raise OSError("no network")

    for module in (torchvision.datasets.cifar, torchvision.datasets.imagenette):
        monkeypatch.setattr(module, "download_and_extract_archive", no_network)
    config = configure(f"data={name}", f"data.root={tmp_path}", "depth=50")
    with pytest.raises(DataError) as caught:
        load_source(config.data)
    said = str(caught.value)
    assert str(tmp_path) in said
    assert "no network" in said
    assert "data=digits" in said
    assert "http" in said


def test_an_incomplete_imagenette_is_refused(
    configure: Configure, tmp_path: Path, digits_folder: Folder
) -> None:
    digits_folder(num_train=1, num_val=1).rename(tmp_path / "imagenette2-320")
    config = configure("data=imagenette", f"data.root={tmp_path}", "depth=18")
    with pytest.raises(DataError):
        load_source(config.data)


def test_a_damaged_cached_result_is_deleted_and_one_without_permission_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        load_or_compute(tmp_path, "name", lambda: 1)
        == load_or_compute(tmp_path, "name", lambda: 2)
        == 1
    )
    (file,) = tmp_path.iterdir()

    def refuse(_: Path) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(cache, "load_checksummed", refuse)
        assert load_or_compute(tmp_path, "name", lambda: 1) == 1
    assert list(tmp_path.iterdir()) == [file]
    file.write_bytes(b"damaged")
    assert load_or_compute(tmp_path, "name", lambda: 3) == 3
    assert file not in tmp_path.iterdir()
