"""Testing protocols give the same errors as independent, literal computations."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_sample_images
from support.commands import forked
from support.evaluation import evaluation_of
from support.public_net import PublicNet
from support.training import Configure, Tiny
from torch import Tensor
from torch.nn import functional as F

from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import NullProgress, RunProgress
from resnet_degradation.data.build import find_images, make_batches
from resnet_degradation.data.sources.digits import load_digits
from resnet_degradation.data.views import EvalProtocol
from resnet_degradation.evaluation.command import SplitErrors, evaluate, explain_high_error
from resnet_degradation.nets.build import initialize
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.nets.weights import read_weights
from resnet_degradation.probes.errors import (
    average_over_views,
    errors_over_views,
    final_map_size,
    fully_convolutional_logits,
)
from resnet_degradation.records.checkpoint import load_checkpoint, save_checkpoint
from resnet_degradation.records.summary import read_final_errors
from resnet_degradation.system.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    UserError,
    WeightsError,
)

TrainRun = Callable[[Config], Path]
Folder = Callable[..., Path]
CPU = torch.device("cpu")


def used_net(family: Any = "imagenet", depth: int = 18, num_classes: int = 7) -> ResNet:
    """A net with running statistics that differ from the initial ones."""
    net = ResNet(depth, True, family=family, num_classes=num_classes, width=0.25)
    initialize(net, 0)
    net.train()
    with torch.no_grad():
        net(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    return net.eval()


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Parts of scikit-learn's two photographs, of several sizes, in seven classes."""
    root = tmp_path / "photographs"
    sizes = [(60, 60), (60, 90), (80, 50), (64, 64)]
    photos = load_sample_images().images
    for number in range(7):
        for split in ("train", "val"):
            folder = root / split / f"class{number}"
            folder.mkdir(parents=True)
            for i in range(2):
                height, width = sizes[(number + i) % len(sizes)]
                top, left = 40 * number, 50 * number + (20 if split == "val" else 0)
                part = photos[i][top : top + height, left : left + width]
                Image.fromarray(part).save(folder / f"{i}.png")
    return root


def streamed_config(configure: Configure, root: Path, *overrides: str) -> Config:
    return configure(
        "data=imagenet", f"data.root={root}", "depth=18", "data.image_size=32", "width=0.25",
        f"output_dir={root.parent / 'outputs'}", "runtime.num_workers=0", "recipe.batch_size=14",
        *overrides,
    )  # fmt: skip


def protocol(name: Any, scales: tuple[int, ...] = (), **changes: Any) -> EvalProtocol:
    return replace(EvalProtocol(name, 32, 37, scales, mirror=True), **changes)


def all_logits(net: ResNet, config: Config, viewing: EvalProtocol) -> tuple[Tensor, Tensor]:
    batches = make_batches(find_images(config), config, CPU)
    scores, labels = [], []
    for batch in batches.multi_view("val", viewing):
        scores.append(average_over_views(net, batch, viewing, views_per_pass=13))
        labels.append(batch.labels)
    return torch.cat(scores).detach(), torch.cat(labels)


def centred(image: Any, mean: Tensor) -> Tensor:
    return torchvision.transforms.functional.to_tensor(image) - mean


@torch.no_grad()
def test_ten_crop_is_torchvisions(configure: Configure, photographs: Path) -> None:
    net, config = used_net(), streamed_config(configure, photographs)
    mean = make_batches(find_images(config), config, CPU).mean
    ten_crop = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(37), torchvision.transforms.TenCrop(32)]
    )
    scores, labels = all_logits(net, config, protocol("ten-crop"))
    files = sorted((photographs / "val").rglob("*.png"))
    assert len(files) == len(scores) == 14
    for file, ours in zip(files, scores, strict=True):
        crops = ten_crop(Image.open(file))
        assert len(crops) == 10
        literal = sum(net(centred(crop, mean)[None]).softmax(dim=1)[0] for crop in crops) / 10
        torch.testing.assert_close(ours, literal, atol=1e-6, rtol=1e-5)
    assert labels.tolist() == sorted(2 * list(range(7)))


@torch.no_grad()
def test_multi_scale_is_a_window_that_slides_over_the_final_map(
    configure: Configure, photographs: Path
) -> None:
    """Literally: score every place on its own, average places, then mirror images and scales."""
    net, config = used_net(), streamed_config(configure, photographs, "data.mean=channel")
    mean = make_batches(find_images(config), config, CPU).mean
    sides = (32, 50, 97)
    scores, _ = all_logits(net, config, protocol("multi-scale", sides))
    window = 1  # the final maps of images of 32 pixels have one value
    places_seen = set()
    for file, ours in zip(sorted((photographs / "val").rglob("*.png")), scores, strict=True):
        literal = []
        for side in sides:
            sized = centred(torchvision.transforms.Resize(side)(Image.open(file)), mean)
            for image in (sized, torch.flip(sized, dims=[2])):
                maps = net.layer4(net.layer3(net.layer2(net.layer1(
                    net.maxpool(F.relu(net.bn1(net.conv1(image[None])))
                )))))[0]  # fmt: skip
                height, width = maps.shape[1:]
                places = [
                    net.fc(maps[:, y : y + window, x : x + window].mean(dim=(1, 2)))
                    for y in range(height - window + 1)
                    for x in range(width - window + 1)
                ]
                places_seen.add(len(places))
                literal.append(torch.stack(places).mean(dim=0).softmax(dim=0))
        torch.testing.assert_close(ours, torch.stack(literal).mean(dim=0), atol=1e-6, rtol=1e-5)
    assert max(places_seen) > 9


@torch.no_grad()
def test_scores_do_not_depend_on_the_processes_that_decode(
    configure: Configure, photographs: Path
) -> None:
    net = used_net()
    for viewing in (protocol("ten-crop"), protocol("multi-scale", (32, 50))):
        alone, helped = (
            all_logits(
                net,
                streamed_config(
                    configure, photographs, f"runtime.num_workers={n}", "data.std=[0.2,0.3,0.4]"
                ),
                viewing,
            )
            for n in (0, 2)
        )
        assert torch.equal(alone[0], helped[0])
        assert torch.equal(alone[1], helped[1])


@torch.no_grad()
def test_a_window_of_several_places_overlaps_itself(configure: Configure) -> None:
    """The CIFAR net pools maps of 8x8 of images of 32: at other sizes windows overlap."""
    net = used_net("cifar", 20)
    images = torch.randn(2, 3, 44, 36, generator=torch.Generator().manual_seed(1))
    assert final_map_size(net, 32, CPU) == (8, 8)
    ours = fully_convolutional_logits(net, images, (8, 8))
    maps = net.features(images)
    assert maps.shape[-2:] == (11, 9)
    places = [
        net.fc(maps[:, :, y : y + 8, x : x + 8].mean(dim=(2, 3)))
        for y in range(4)
        for x in range(2)
    ]
    torch.testing.assert_close(ours, torch.stack(places).mean(dim=0), atol=1e-5, rtol=1e-5)
    training_size = images[:, :, :32, :32]
    torch.testing.assert_close(
        fully_convolutional_logits(net, training_size, (8, 8)),
        net(training_size),
        atol=1e-5,
        rtol=0,
    )


@torch.no_grad()
def test_mirror_images_in_memory_are_mirrored_with_their_mean(configure: Configure) -> None:
    config = configure("depth=20", "data.image_size=16", "recipe.mirror=true")
    net = used_net("cifar", 20, num_classes=10)
    batches = make_batches(find_images(config), config, CPU)
    scores, _ = all_logits(net, config, protocol("multi-scale", (16,), image_size=16))
    val: Any = load_digits(16).held_out["val"]
    image = val.images[5] / 255 - batches.mean
    both = net(torch.stack([image, image.flip(-1)])).softmax(dim=1).mean(dim=0)
    torch.testing.assert_close(scores[5], both, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_protocols_on_images_in_memory(configure: Configure) -> None:
    """Crops are cut out of the padded image, and the mean image is resized to every scale."""
    config = configure("depth=20", "data.image_size=16", "runtime.eval_batch_size=50")
    net = used_net("cifar", 20, num_classes=10)
    batches = make_batches(find_images(config), config, CPU)
    val: Any = load_digits(16).held_out["val"]
    mirror = {"mirror": False, "image_size": 16}
    ten, labels = all_logits(net, config, protocol("ten-crop", **mirror))
    many, _ = all_logits(net, config, protocol("multi-scale", (16, 23), **mirror))
    assert torch.equal(labels, val.labels)
    for number in (0, 7, 359):
        image = F.pad(val.images[number] / 255 - batches.mean, (2, 2, 2, 2))
        corners = [image[:, y : y + 16, x : x + 16] for y in (0, 4) for x in (0, 4)]
        crops = torch.stack([*corners, image[:, 2:18, 2:18]])
        torch.testing.assert_close(
            ten[number], net(crops).softmax(dim=1).mean(dim=0), atol=1e-6, rtol=1e-5
        )
        larger = [
            F.interpolate(x[None], size=(23, 23), mode="bilinear", antialias=True)
            for x in (val.images[number] / 255, batches.mean)
        ]
        pooled = net.features(larger[0] - larger[1]).unfold(2, 4, 1).unfold(3, 4, 1)
        dense = net.fc(pooled.mean(dim=(2, 3, 4, 5))).softmax(dim=1)
        single = net((val.images[number] / 255 - batches.mean)[None]).softmax(dim=1)
        torch.testing.assert_close(many[number], ((dense + single) / 2)[0], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_top_5_counts_the_five_best(configure: Configure) -> None:
    config = configure("depth=20", "data.image_size=16")
    net = used_net("cifar", 20, num_classes=10)
    batches = make_batches(find_images(config), config, CPU)
    viewing = protocol("ten-crop", image_size=16, mirror=False)
    scores, labels = all_logits(net, config, viewing)
    ranks = np.argsort(-scores.numpy(), axis=1)
    right = ranks == labels.numpy()[:, None]
    errors = errors_over_views(net, batches, "val", viewing, 500)
    assert errors == {k: pytest.approx(100 * (1 - right[:, :k].any(axis=1).mean())) for k in (1, 5)}


# --- resnet-eval ---


def run_evaluation(*overrides: str) -> list[SplitErrors]:
    return evaluate(evaluation_of(*overrides), Console(quiet=True), NullProgress())


def content(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("where", ["memory", "streamed"])
def test_the_centre_view_gives_the_error_that_the_run_recorded(
    tiny: Tiny, configure: Configure, train_run: TrainRun, photographs: Path, where: str
) -> None:
    config = (
        tiny()
        if where == "memory"
        else streamed_config(configure, photographs, "recipe.iterations=3", "recipe.lr=0.01")
    )
    folder = train_run(config)
    before = content(folder)
    (tested,) = run_evaluation(f"run={folder}")
    assert tested.errors[1] == pytest.approx(read_final_errors(folder).val_error, abs=1e-6)
    after = content(folder)
    record = json.loads(after.pop("evaluations/center.json"))
    assert after == before
    assert record["splits"]["val"]["top1_error"] == tested.errors[1]
    assert record["iteration"] == (12 if where == "memory" else 3)
    for name in ("ten-crop", "multi-scale"):
        (tested,) = run_evaluation(f"run={folder}", f"protocol={name}")
        assert 0 <= tested.errors[5] <= tested.errors[1] <= 100
        assert tested.views_per_image == (5 if where == "memory" else 10)
        assert (folder / f"evaluations/{name}.json").is_file()


def test_exported_weights_have_the_error_of_their_run(
    tmp_path: Path, tiny: Tiny, train_run: TrainRun
) -> None:
    folder = train_run(tiny())
    file = tmp_path / "exported/net.safetensors"
    (of_run,) = run_evaluation(f"run={folder}", f"export={file}")
    (of_file,) = run_evaluation(
        f"weights={file}", "depth=8", "width=0.5", "data.image_size=8", f"output_dir={tmp_path}",
    )  # fmt: skip
    assert of_run.errors == of_file.errors
    (record,) = (tmp_path / "evaluations").rglob("center.json")
    assert json.loads(record.read_text())["weights"] == str(file)
    only = tmp_path / "only.safetensors"
    assert run_evaluation(f"run={folder}", "protocol=none", f"export={only}") == []
    exported, again = (read_weights(each) for each in (file, only))
    assert exported[1] == again[1]
    converted = tmp_path / "converted.pt"
    of_file = (f"weights={only}", "depth=8", "width=0.5", "data.image_size=8")
    assert run_evaluation(*of_file, "protocol=none", f"export={converted}") == []
    assert all(torch.equal(v, exported[0][k]) for k, v in read_weights(converted)[0].items())
    with pytest.raises(WeightsError, match="do not fit"):
        run_evaluation(f"weights={only}", "depth=14", f"output_dir={tmp_path / 'other'}")
    assert not (tmp_path / "other/evaluations").exists()
    assert all(torch.equal(value, again[0][name]) for name, value in exported[0].items())


def trained_public_net(images: Tensor, labels: Tensor) -> PublicNet:
    """A public ResNet-20, with half of option A's zeros on each side, trained by plain torch."""
    torch.manual_seed(0)
    net = PublicNet([3, 3, 3], [16, 32, 64], "around")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(60):
        batch = torch.randint(len(labels), (64,))
        optimizer.zero_grad()
        F.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()
    return net.eval()


def test_public_weights_have_the_error_of_their_own_net_to_the_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits: Any = load_digits(8)
    mean, std = torch.tensor([0.3, 0.4, 0.5]), torch.tensor([0.3, 0.4, 0.5])
    train, val = (
        (part.images / 255 - mean[:, None, None]) / std[:, None, None]
        for part in (digits.train, digits.held_out["val"])
    )
    theirs = trained_public_net(train, digits.train.labels)
    named = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    file = tmp_path / "resnet20.th"
    torch.save({"state_dict": named, "best_prec1": 80.0}, file)
    with torch.no_grad():
        wrong = theirs(val).argmax(dim=1) != digits.held_out["val"].labels
    common = (
        *(f"weights={file}", "depth=20", "data.image_size=8", f"output_dir={tmp_path}"),
        *("data.mean=[0.3,0.4,0.5]", "data.std=[0.3,0.4,0.5]"),
    )
    console = Console(width=200)
    (tested,) = evaluate(evaluation_of(*common), console, RunProgress(console))
    assert tested.errors[1] == pytest.approx(100 * float(wrong.float().mean()), abs=1e-6)
    assert tested.errors[1] < 30
    printed = capsys.readouterr().out
    assert "resnet20.th: the public CIFAR layout" in printed
    assert "ResNet-20-around, digits: center" in printed
    assert "guessing gives" not in printed
    # The exported weights give the same net.
    for suffix in (".safetensors", ".pt"):
        exported = tmp_path / f"exported{suffix}"
        run_evaluation(*common, f"export={exported}")
        (again,) = run_evaluation(f"weights={exported}", *common[1:])
        assert again.errors == tested.errors
    # With other places of the zero channels, or another order of classes, the net differs.
    with pytest.warns(UserWarning, match="but the configured shortcut_padding=behind is used"):
        (behind,) = run_evaluation(*common, "shortcut_padding=behind")
    assert behind.errors[1] > tested.errors[1] + 20
    for name in ("module.linear.weight", "module.linear.bias"):
        named[name] = named[name].roll(1, dims=0)
    torch.save(named, file)
    evaluate(evaluation_of(*common), console, RunProgress(console))
    printed = " ".join(capsys.readouterr().out.split())
    assert "is high: guessing gives 90.00 %. If these weights do better in other code" in printed
    for cause in ("data.mean=[0.3, 0.4, 0.5]", "order of the classes", "shortcut_padding=around"):
        assert cause in printed


@pytest.mark.parametrize(
    ("error", "num_classes", "is_near"),
    [
        (90.0, 10, True),
        (77.0, 10, True),
        (94.0, 10, True),
        (50.0, 10, False),
        (98.0, 100, True),
        (60.0, 100, False),
        (99.9, 1000, True),
        (70.0, 1000, False),
        (45.0, 2, True),
        (10.0, 2, False),
    ],
)
def test_near_chance_depends_on_the_number_of_classes(
    configure: Configure, error: float, num_classes: int, is_near: bool
) -> None:
    tested = [SplitErrors("val", 100, 1, {1: error})]
    for config in (configure(), configure("residual=false")):
        note = explain_high_error(config, tested, num_classes)
        assert (note is not None) == is_near
        if note is not None:
            assert ("shortcut_padding" in note) == config.residual


def test_a_run_whose_weights_are_not_finite_is_not_evaluated(
    tiny: Tiny, train_run: TrainRun
) -> None:
    folder = train_run(tiny("recipe.iterations=2"))
    checkpoint = load_checkpoint(folder)
    assert checkpoint is not None
    checkpoint.parts["net"]["fc.bias"][0] = float("nan")
    save_checkpoint(folder, checkpoint)
    with pytest.raises(WeightsError, match=r"fc\.bias is not finite"):
        run_evaluation(f"run={folder}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "no net to evaluate: set run=FOLDER"),
        (["run=RUN", "weights=x.pt"], "set only one of them"),
        (["run=RUN", "depth=56"], "depth=56, but run="),
        (["run=RUN", "shortcut_padding=around"], "shortcut_padding=around, but run="),
        (["run=RUN", "data=cifar10"], "data= sets data.name=cifar10, but run="),
        (["run=RUN", "protocol=five-crop"], "choose center, ten-crop, multi-scale"),
        (["run=RUN", "protocol=none"], "protocol=none tests nothing"),
        (["run=RUN", "protocol=multi-scale", "scales=[4,8]"], "must be from 8 .* to 4096"),
        (["run=RUN", "protocol=multi-scale", "scales=[]"], "must be from 8 .* to 4096"),
        (["run=RUN", "protocol=multi-scale", "scales=[8,90000]"], "must be from 8 .* to 4096"),
        (["run=RUN", "scales=[8]"], "scales applies only to protocol=multi-scale"),
        (["run=RUN", "shorter_side=9"], "shorter_side applies only to protocol=ten-crop"),
        (["run=RUN", "protocol=ten-crop", "shorter_side=9"], "images that are streamed"),
        (["run=RUN", "split=test"], "split=test does not exist in these data: choose val"),
        (["run=RUN", "export=net.onnx"], r"name a .safetensors, .pt or .pth file"),
        (["run=RUN", "runtime.devices=2"], "runs in one process"),
        (["run=nowhere"], "no run in nowhere"),
        (["run=RUN/.."], "holds 1 run, whose folder is"),
    ],
)
def test_an_evaluation_that_cannot_run_is_an_error(
    tiny: Tiny, train_run: TrainRun, overrides: list[str], message: str
) -> None:
    folder = train_run(tiny("recipe.iterations=2"))
    before = content(folder)
    with pytest.raises(UserError, match=message):
        run_evaluation(*(part.replace("RUN", str(folder)) for part in overrides))
    assert content(folder) == before


def test_a_run_without_checkpoints_cannot_be_evaluated(tiny: Tiny, train_run: TrainRun) -> None:
    folder = train_run(tiny("recipe.iterations=2"))
    for file in (folder / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        run_evaluation(f"run={folder}")


def test_other_images_must_have_the_classes_that_the_net_was_trained_on(
    configure: Configure, train_run: TrainRun, photographs: Path
) -> None:
    folder = train_run(streamed_config(configure, photographs, "recipe.iterations=2"))
    moved = photographs.rename(photographs.parent / "moved")
    run_evaluation(f"run={folder}", f"data.root={moved}")
    (moved / "val/class3/0.png").unlink()
    with pytest.warns(UserWarning, match="trained on other images: the number of val images"):
        run_evaluation(f"run={folder}", f"data.root={moved}")
    for split in ("train", "val"):
        (moved / split / "class3").rename(moved / split / "class30")
        (moved / split / "class2").rename(moved / split / "class3")
        (moved / split / "class1").rename(moved / split / "class2")
        (moved / split / "class0").rename(moved / split / "class1")
    with pytest.raises(DataError, match="class 0 is class1, but should be class0"):
        run_evaluation(f"run={folder}", f"data.root={moved}")


def test_the_command_prints_a_table_within_80_columns(
    tmp_path: Path, tiny: Tiny, train_run: TrainRun
) -> None:
    folder = train_run(tiny("recipe.iterations=2"))
    done = forked(tmp_path, "resnet-eval", f"run={folder}", "protocol=ten-crop")
    assert (done.returncode, done.stderr) == (0, "")
    # On a busy machine there are lines of progress, too.
    lines = [line for line in done.stdout.splitlines() if not line.startswith("ten-crop, val: ")]
    assert lines[0] == "ResNet-8-width0.5 after 2 iterations, digits: ten-crop (5 views)"
    assert "top-1 error (%)" in lines[2]
    assert lines[-1] == f"record: {folder}/evaluations/ten-crop.json"
    assert max(map(len, lines[:-1])) <= 80


def test_a_configuration_error_has_code_2(tmp_path: Path) -> None:
    done = forked(tmp_path, "resnet-eval")
    assert done.returncode == ConfigError.exit_code
    assert done.stderr.startswith("error: no net to evaluate")
    assert len(done.stderr.splitlines()) == 1
