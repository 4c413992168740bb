"""Weights go into a net and out of it under any of the usual names, or are refused by name."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from resnet_degradation.config import Config, digest, run_folder
from resnet_degradation.errors import ConfigError, WeightsError
from resnet_degradation.nets import ResNet, build_net, initialise
from resnet_degradation.runs import checkpoint_files
from resnet_degradation.train.checkpoint import load_checkpoint
from resnet_degradation.train.setup import prepare
from resnet_degradation.weights import assign, load_weights, read_weights, write_weights

Tiny = Callable[..., Config]
TrainRun = Callable[[Config], Path]


def small_net(seed: int = 0, **options: Any) -> ResNet:
    net = build_net(8, True, family="cifar", width=0.5, **options)
    initialise(net, seed)
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            if buffer.is_floating_point():
                draw = torch.Generator().manual_seed(len(name))
                buffer.copy_(torch.rand(buffer.shape, generator=draw) + 0.5)
    return net


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in net.state_dict().items() if not k.endswith("tracked")}


def assert_same(net: nn.Module, weights: dict[str, Tensor]) -> None:
    for name, value in weights_of(net).items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_weights_that_are_written_are_read_back(tmp_path: Path, suffix: str) -> None:
    net, other = small_net(0), small_net(1)
    write_weights(net, tmp_path / f"net{suffix}", {"net": "ResNet-8"})
    load_weights(other, tmp_path / f"net{suffix}")
    assert_same(other, weights_of(net))


def test_safetensors_say_what_net_they_are_of(tmp_path: Path) -> None:
    net = build_net(50, True, family="imagenet", shortcut="B", width=0.05, bottleneck_stride="3x3")
    file = tmp_path / "net.safetensors"
    write_weights(net, file, {"net": "ResNet-50"})
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata == {"format": "pt", "net": "ResNet-50", "bottleneck_stride": "3x3"}
    papers = build_net(50, True, family="imagenet", shortcut="B", width=0.05)
    with pytest.raises(WeightsError, match="give bottleneck_stride=3x3"):
        load_weights(papers, file)


def test_bottlenecks_that_do_not_say_where_they_halve_are_warned_of(tmp_path: Path) -> None:
    net = build_net(50, True, family="imagenet", shortcut="B", width=0.05)
    write_weights(net, tmp_path / "net.pt", {})
    with pytest.warns(UserWarning, match="in torchvision's nets it is 3x3"):
        load_weights(net, tmp_path / "net.pt")


@pytest.mark.parametrize("depth", [18, 34, 50, pytest.param(101, marks=pytest.mark.slow)])
def test_torchvisions_weights_are_taken_and_given_back(tmp_path: Path, depth: int) -> None:
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=7)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = build_net(
        depth, True, family="imagenet", shortcut="B", num_classes=7, bottleneck_stride="3x3"
    )
    load_weights(ours, tmp_path / "theirs.pth")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-4, atol=1e-4)
    write_weights(ours, tmp_path / "ours.pt", {})
    again = getattr(torchvision.models, f"resnet{depth}")(num_classes=7)
    again.load_state_dict(torch.load(tmp_path / "ours.pt", weights_only=True))
    assert_same(again, weights_of(theirs))


def others_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As a public CIFAR repository names them: trained by DataParallel, its last layer `linear`."""
    return {"module." + name.replace("fc.", "linear."): value for name, value in weights.items()}


def numbered(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Layers under other names, in the same order."""
    kinds = {name: name.rpartition(".")[2] for name in weights}
    return {f"net.{i}.{kinds[name]}": value for i, (name, value) in enumerate(weights.items())}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        others_names,
        lambda w: {"state_dict": others_names(w), "best_prec1": 91.7},
        lambda w: {"model": {f"_orig_mod.{k}": v.half().float() for k, v in w.items()}},
        lambda w: {
            f"net.block.{i}.{k.rpartition('.')[2]}": v for i, (k, v) in enumerate(w.items())
        },
    ],
)
def test_weights_of_others_are_taken_by_name_or_by_order(
    tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any]
) -> None:
    halves = small_net(0).half().float()
    torch.save(wrap(weights_of(halves)), tmp_path / "theirs.th")
    net = small_net(1)
    load_weights(net, tmp_path / "theirs.th")
    assert_same(net, weights_of(halves))


def test_a_checkpoint_is_a_file_of_weights(tiny: Tiny, train_run: TrainRun) -> None:
    folder = train_run(tiny())
    file = checkpoint_files(folder)[0]
    net = build_net(8, True, family="cifar", width=0.5)
    load_weights(net, file)
    checkpoint = load_checkpoint(folder)
    assert checkpoint is not None
    assert_same(net, checkpoint.parts["net"])


# --- what does not fit ---


def drop(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda w: {k: v for k, v in w.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("layer2.0.conv1.weight"), "they have no layer2.0.conv1.weight"),
        (lambda w: w | {"layer9.weight": torch.zeros(1)}, "the net has no layer9.weight"),
        (
            lambda w: w | {"layer1.0.downsample.0.weight": torch.zeros(1)},
            "no layer1.0.downsample.0.weight. Projection shortcuts are shortcut=B",
        ),
        (
            lambda w: w | {"fc.weight": torch.zeros(100, 32), "fc.bias": torch.zeros(100)},
            "first that does not is fc.weight: it is 100x32, and 10x32 is wanted",
        ),
        (
            lambda w: {f"a.{i}.weight": v for i, v in enumerate(w.values())},
            "does not is a.2.weight, where the net has bn1.bias",
        ),
        (
            lambda w: others_names(drop("fc.bias")(w)),
            "the first that is missing is fc.bias",
        ),
        (
            lambda w: numbered(drop("fc.bias")(w)),
            "the first that is missing is fc.bias",
        ),
    ],
)  # fmt: skip
def test_the_first_tensor_that_does_not_fit_is_named(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    net = small_net(1)
    before = weights_of(net)
    torch.save(change(weights_of(small_net(0))), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=message):
        load_weights(net, tmp_path / "w.pt")
    assert_same(net, before)


@pytest.mark.parametrize(
    "spoil",
    [Tensor.to_sparse, lambda t: t.to("meta"), lambda t: t.to(torch.int8), lambda t: t + 0j],
)
def test_what_is_no_array_of_real_numbers_is_refused(
    tmp_path: Path, spoil: Callable[[Tensor], Tensor]
) -> None:
    net = small_net(1)
    before, weights = weights_of(net), weights_of(small_net(0))
    torch.save(weights | {"fc.weight": spoil(weights["fc.weight"])}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"fc.weight in it is no array of real numbers"):
        load_weights(net, tmp_path / "w.pt")
    assert_same(net, before)


def test_safetensors_keep_no_order_to_go_by(tmp_path: Path) -> None:
    save_file(numbered(weights_of(small_net(0))), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="keep no order by which other names"):
        load_weights(small_net(1), tmp_path / "w.safetensors")


@given(place=st.floats(0, 1), values=st.binary(min_size=1, max_size=40))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_ends_in_one_line_or_is_read(
    tmp_path: Path, place: float, values: bytes
) -> None:
    for legacy in (False, True):
        file = tmp_path / "w.pth"
        torch.save(weights_of(small_net(0)), file, _use_new_zipfile_serialization=not legacy)
        content = bytearray(file.read_bytes())
        first = int(place * (len(content) - len(values)))
        content[first : first + len(values)] = values
        file.write_bytes(content)
        try:
            load_weights(small_net(1), file)
        except WeightsError as error:
            assert "\n" not in str(error)


def test_means_and_variances_are_not_mistaken_for_each_other() -> None:
    net = small_net(0)
    given = {
        k.replace("layer", "stage").replace("bn", "norm"): v for k, v in weights_of(net).items()
    }
    names = list(given)
    i, j = names.index("norm1.running_mean"), names.index("norm1.running_var")
    names[i], names[j] = names[j], names[i]
    with pytest.raises(
        WeightsError, match=r"norm1.running_var, where the net has bn1.running_mean"
    ):
        assign(net, {name: given[name] for name in names}, "there")


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("code in a file of weights was executed",))


def write_text(file: Path) -> None:
    file.write_text("no weights", encoding="utf-8")


def write_code(file: Path) -> None:
    file.write_bytes(pickle.dumps({"fc.weight": Bomb()}))


def write_zip_with_code(file: Path) -> None:
    torch.save({"fc.weight": Bomb()}, file)


def write_half(file: Path) -> None:
    torch.save(weights_of(small_net()), file)
    file.write_bytes(file.read_bytes()[:5000])


def write_list(file: Path) -> None:
    torch.save([torch.zeros(1)], file)


def write_numbers(file: Path) -> None:
    torch.save({"fc.weight": 3.0}, file)


def make_folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize(
    "write",
    [
        write_text, write_code, write_zip_with_code, write_half, write_list, write_numbers,
        make_folder, lambda file: None, lambda file: file.touch(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_no_file_of_weights_is_refused_in_one_line(
    tmp_path: Path, write: Callable[[Path], None], suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"weights{suffix}"
    write(file)
    with pytest.raises(WeightsError, match=f"weights{suffix}") as caught:
        read_weights(file)
    assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_weights_go_to_files_of_known_kinds_only(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"name a .safetensors, .pt or .pth file"):
        write_weights(small_net(), tmp_path / "net.onnx", {})
    assert list(tmp_path.iterdir()) == []


# --- runs that begin with weights ---


def test_a_run_begins_with_the_weights_in_a_file(
    tmp_path: Path, tiny: Tiny, train_run: TrainRun
) -> None:
    net = small_net(7)
    write_weights(net, tmp_path / "a.safetensors", {})
    config = tiny(f"weights={tmp_path / 'a.safetensors'}")
    assert_same(prepare(config).net, weights_of(net))
    train_run(config)
    resumed = prepare(config).net  # from its checkpoint: the file is no longer read
    assert not torch.equal(resumed.fc.weight, net.fc.weight)


def test_a_run_is_named_by_the_content_of_its_weights(tmp_path: Path, tiny: Tiny) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        save_file(weights_of(small_net(seed)), tmp_path / f"{name}.safetensors")
    a, b, c = (tiny(f"weights={tmp_path / name}.safetensors") for name in "abc")
    assert run_folder(a) == run_folder(b)
    assert len({digest(config) for config in (tiny(), a, c)}) == 3
    assert tiny(f"weights={a.weights}", f"weights_digest={a.weights_digest}") == a
    with pytest.raises(ConfigError, match="is another file than expected"):
        tiny(f"weights={a.weights}", f"weights_digest={c.weights_digest}")
    with pytest.raises(ConfigError, match=r"none.pt cannot be read \(No such file"):
        tiny(f"weights={tmp_path}/none.pt")
