"""Weights are read and written with the usual names; errors name the tensor that does not fit."""

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
from support.images import photographs
from support.public_net import PublicNet
from support.studies import composed_study
from support.training import Tiny
from torch import Tensor, nn

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.config.identity import digest, net_name, run_folder
from resnet_degradation.config.schema import Config
from resnet_degradation.nets.build import initialize, make_net
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.nets.weights import (
    assign_weights,
    load_weights,
    num_classes,
    read_weights,
    write_weights,
)
from resnet_degradation.records.checkpoint import load_checkpoint
from resnet_degradation.records.run_folder import checkpoint_files
from resnet_degradation.system.errors import ConfigError, WeightsError
from resnet_degradation.training.build import prepare
from resnet_degradation.training.describe import describe_run
from resnet_degradation.training.load_run import load_trained_net

TrainRun = Callable[[Config], Path]


def small_net(seed: int = 0, **options: Any) -> ResNet:
    net = ResNet(8, True, family="cifar", width=0.5, **options)
    initialize(net, seed)
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
    net = ResNet(50, True, family="imagenet", shortcut="B", width=0.05, bottleneck_stride="3x3")
    file = tmp_path / "net.safetensors"
    write_weights(net, file, {"net": "ResNet-50"})
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata == {"format": "pt", "net": "ResNet-50", "bottleneck_stride": "3x3"}
    papers = ResNet(50, True, family="imagenet", shortcut="B", width=0.05)
    with pytest.raises(WeightsError, match="set bottleneck_stride=3x3"):
        load_weights(papers, file)


def test_bottlenecks_that_do_not_say_where_they_halve_are_warned_of(tmp_path: Path) -> None:
    net = ResNet(50, True, family="imagenet", shortcut="B", width=0.05)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    with pytest.warns(UserWarning, match="torchvision's nets have 3x3"):
        load_weights(net, tmp_path / "net.pt")


@pytest.mark.parametrize("depth", [18, 34, 50, pytest.param(101, marks=pytest.mark.slow)])
def test_torchvisions_weights_are_taken_and_given_back(tmp_path: Path, depth: int) -> None:
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=7)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = ResNet(
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
    """The layers with other names, in the same order."""
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
    net = ResNet(8, True, family="cifar", width=0.5)
    load_weights(net, file)
    checkpoint = load_checkpoint(folder)
    assert checkpoint is not None
    assert_same(net, checkpoint.parts["net"])


# --- the public layouts of docs/paper.md, each from a separate small net ---


def public_net(depth: int, zeros: str, last: str = "linear", num_classes: int = 10) -> PublicNet:
    """A CIFAR net of depth 6n+2 in evaluation mode, with running statistics of some images."""
    torch.manual_seed(depth)
    net = PublicNet(3 * [(depth - 2) // 6], [16, 32, 64], zeros, last, num_classes)
    for _ in range(3):
        net(photographs(8, 32))
    return net.eval()


def wrapped(prefix: str, within: str | None, **beside: Any) -> Callable[[dict[str, Tensor]], Any]:
    """Weights as wrappers save them: a prefix before all names, and in a dictionary of more."""

    def wrap(weights: dict[str, Tensor]) -> Any:
        named = {prefix + name: value for name, value in weights.items()}
        return named if within is None else {within: named, **beside}

    return wrap


def loaded(*overrides: str) -> tuple[ResNet, Config, str]:
    """The net of these settings and weights, in evaluation mode, and the file's description."""
    config = compose_config(*overrides)
    assert config.weights is not None
    file = Path(config.weights)
    net = make_net(config, num_classes(file), initialized=False)
    return net.eval(), config, load_weights(net, file)


@torch.no_grad()
def assert_same_logits(ours: nn.Module, theirs: nn.Module, size: int = 32) -> None:
    images = photographs(12, size)
    one, other = ours(images), theirs(images)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert torch.equal(one.argmax(dim=1), other.argmax(dim=1))


DATA_PARALLEL = wrapped("module.", "state_dict", best_prec1=91.7, epoch=180)


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_the_public_layout_with_a_linear_layer_has_zeros_around_the_channels(
    tmp_path: Path, depth: int
) -> None:
    theirs = public_net(depth, "around")
    file = tmp_path / f"resnet{depth}.th"
    legacy = {"_use_new_zipfile_serialization": depth == 20}  # older files are not zip archives
    torch.save(DATA_PARALLEL(theirs.state_dict()), file, **legacy)
    net, config, taken_for = loaded(f"weights={file}", f"depth={depth}")
    assert_same_logits(net, theirs)
    assert config.shortcut_padding == "around"
    assert net_name(config) == f"ResNet-{depth}-around"
    assert taken_for == (
        f"resnet{depth}.th: the public CIFAR layout, with `linear` as the last layer, "
        "shortcut=A with shortcut_padding=around"
    )
    # The given setting is used, with a warning.
    with pytest.warns(UserWarning, match="the configured shortcut_padding=behind is used"):
        other, config, _ = loaded(f"weights={file}", f"depth={depth}", "shortcut_padding=behind")
    assert config.shortcut_padding == "behind"
    with torch.no_grad():
        assert not torch.allclose(other(photographs(12, 32)), theirs(photographs(12, 32)), atol=0.1)


def test_the_public_layout_in_safetensors_needs_no_order(tmp_path: Path) -> None:
    theirs = public_net(20, "around")
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    net, _, _ = loaded(f"weights={tmp_path / 'w.safetensors'}", "depth=20")
    assert_same_logits(net, theirs)


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
@pytest.mark.parametrize(("zeros", "last"), [("downsample", "fc"), ("shortcut", "linear")])
def test_public_nets_with_projections_are_recognized_as_option_b(
    tmp_path: Path, depth: int, zeros: str, last: str
) -> None:
    theirs = public_net(depth, zeros, last, num_classes=100)
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    net, config, taken_for = loaded(f"weights={tmp_path / 'w.pt'}", f"depth={depth}")
    assert_same_logits(net, theirs)
    assert (config.shortcut, config.shortcut_padding) == ("B", "behind")
    assert taken_for.endswith(", shortcut=B")


@pytest.mark.parametrize("last", ["fc", "classifier"])
def test_option_a_under_other_names_has_its_zeros_behind(tmp_path: Path, last: str) -> None:
    theirs = public_net(20, "behind", last)
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    net, config, taken_for = loaded(f"weights={tmp_path / 'w.pt'}", "depth=20")
    assert_same_logits(net, theirs)
    assert config.shortcut_padding == "behind"
    assert taken_for.endswith("shortcut=A with shortcut_padding=behind")
    theirs = public_net(20, "around", last)
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    net, _, _ = loaded(f"weights={tmp_path / 'w.pt'}", "depth=20", "shortcut_padding=around")
    assert_same_logits(net, theirs)


@pytest.mark.parametrize(
    "wrap",
    [
        wrapped("", None),
        wrapped("module.", None),
        wrapped("", "net", acc=91.3, epoch=7),
        wrapped("module.", "net", acc=91.3, epoch=7),
        wrapped("module.", "model"),
        wrapped("_orig_mod.", "model_state"),
        wrapped("module._orig_mod.", "model_state_dict"),
        wrapped("model.", "state_dict", epoch=3, global_step=9, hyper_parameters={"lr": 0.1}),
        wrapped("net.module.", "state_dict", callbacks={}),
        lambda weights: {"model": {"state_dict": weights}},
    ],
)
def test_wrappers_around_a_public_net_are_taken_off(
    tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any]
) -> None:
    theirs = public_net(20, "around")
    torch.save(wrap(dict(theirs.state_dict())), tmp_path / "w.ckpt")
    net, config, _ = loaded(f"weights={tmp_path / 'w.ckpt'}", "depth=20")
    assert config.shortcut_padding == "around"
    assert_same_logits(net, theirs)


@pytest.mark.parametrize("depth", [18, 34])
def test_torchvisions_nets_need_no_shortcut_to_be_named(tmp_path: Path, depth: int) -> None:
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=7).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    net, config, _ = loaded(f"weights={tmp_path / 'w.pth'}", f"depth={depth}", "family=imagenet")
    assert config.shortcut == "B"
    assert_same_logits(net, theirs, size=64)


@pytest.mark.parametrize(
    ("last", "zeros", "suffix"),
    [("linear", "shortcut", ".pth"), ("fc", "downsample", ".safetensors"), ("head", "x", ".pth")],
)
def test_the_four_stage_net_for_cifar_is_refused(
    tmp_path: Path, last: str, zeros: str, suffix: str
) -> None:
    theirs = PublicNet([2, 2, 2, 2], [64, 128, 256, 512], zeros, last)
    file = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_file(theirs.state_dict(), file)
    else:
        torch.save({"net": theirs.state_dict(), "acc": 95.1}, file)
    with pytest.raises(WeightsError, match="fit the net") as e:
        loaded(f"weights={file}", "depth=20")
    assert "\n" not in str(e.value)


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    torch.save(public_net(32, "around").state_dict(), tmp_path / "w.th")
    with pytest.raises(WeightsError, match=r"the net has no layer1.3.conv1.weight"):
        loaded(f"weights={tmp_path / 'w.th'}", "depth=20")


def test_pre_activation_nets_are_not_taken_by_their_order(tmp_path: Path) -> None:
    """Normalization before convolution: the same shapes in the same order, and another net."""
    theirs = weights_of(public_net(20, "around"))
    convolutions = [name for name in theirs if ".conv" in name]
    named: dict[str, Tensor] = {}
    norms = [name.replace("conv", "bn").removesuffix(".weight") for name in convolutions]
    for name, value in theirs.items():
        if name.startswith("bn1") or ".bn" in name:
            position = sum(other.startswith("layer") and "conv" in other for other in named)
            norm = norms[position] if position < len(norms) else "bn"
            named[f"{norm}.{name.rpartition('.')[2]}"] = value
        else:
            named[name] = value
    assert [v.shape for v in named.values()] == [v.shape for v in theirs.values()]
    torch.save(named, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="another order, as in pre-activation"):
        loaded(f"weights={tmp_path / 'w.pt'}", "depth=20")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_exported_weights_say_where_zeros_go(tmp_path: Path, suffix: str) -> None:
    net = small_net(0, shortcut_padding="around")
    file = tmp_path / f"net{suffix}"
    write_weights(net, file, {})
    again, config, _ = loaded(f"weights={file}", "depth=8", "width=0.5")
    assert config.shortcut_padding == "around"
    assert_same_logits(again, net.eval(), size=16)


def test_a_run_that_begins_with_public_weights_knows_their_padding(
    tmp_path: Path, tiny: Tiny, train_run: TrainRun
) -> None:
    theirs = PublicNet([1, 1, 1], [8, 16, 32], "around")
    torch.save(DATA_PARALLEL(theirs.state_dict()), tmp_path / "w.th")
    config = tiny(f"weights={tmp_path / 'w.th'}")
    started = prepare(config)
    assert "last layer, shortcut=A with shortcut_padding=around" in describe_run(started)
    assert_same_logits(started.net.eval(), theirs.eval(), size=8)
    folder = train_run(config)
    assert folder.name.startswith("ResNet-8-around-width0.5-seed0-")
    (tmp_path / "w.th").unlink()
    trained = load_trained_net(folder, config.runtime, torch.device("cpu"), 10)
    assert trained.config.shortcut_padding == "around"
    assert trained.net.shortcut_padding == "around"
    # The checkpoint of the run has the setting, too, for runs that start from it.
    (file, *_) = checkpoint_files(folder)
    assert tiny(f"weights={file}").shortcut_padding == "around"


def test_padding_is_part_of_the_identity_only_where_there_are_zeros() -> None:
    usual, around = (
        compose_config("depth=20"),
        compose_config("depth=20", "shortcut_padding=around"),
    )
    assert digest(compose_config("depth=20", "shortcut_padding=behind")) == digest(usual)
    assert digest(around) != digest(usual)
    assert run_folder(around).name.startswith("ResNet-20-around-seed0-")
    assert compose_config("residual=false", "shortcut_padding=around") == compose_config(
        "residual=false"
    )
    for without_zeros in ("shortcut=B", "shortcut=C", "depth=50"):
        with pytest.raises(ConfigError, match="shortcut_padding=around has no effect with"):
            compose_config("family=imagenet", "depth=34", without_zeros, "shortcut_padding=around")
    with pytest.raises(ConfigError, match="shortcut_padding=left is not valid: choose behind"):
        compose_config("shortcut_padding=left")


def test_nets_of_a_study_may_differ_in_their_padding() -> None:
    nets = "{depth: 8, residual: true}, {depth: 8, residual: true, shortcut_padding: around}"
    study = composed_study(f"study.nets=[{nets}, {{depth: 8, residual: false}}]")
    assert [net_name(run) for run in study.runs] == ["ResNet-8", "ResNet-8-around", "plain-8"]
    shared = composed_study("shortcut_padding=around", f"study.nets=[{nets.partition('},')[0]}}}]")
    assert [run.shortcut_padding for run in shared.runs] == ["around"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
@pytest.mark.parametrize("name", ["layer2.0.conv1.weight", "bn1.running_var", "fc.bias"])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, name: str, value: float) -> None:
    net = small_net(1)
    before, weights = weights_of(net), weights_of(small_net(0))
    spoilt = weights[name].double()  # 1e39 is too large for the net's float32
    spoilt.view(-1)[3] = value
    torch.save(weights | {name: spoilt}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=rf"cannot be used: {name} is not finite"):
        load_weights(net, tmp_path / "w.pt")
    assert_same(net, before)


# --- weights that do not fit ---


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
            "first tensor that differs is fc.weight: expected 10x32, found 100x32",
        ),
        (
            lambda w: {f"a.{i}.weight": v for i, v in enumerate(w.values())},
            "differs is a.2.weight, where the net has bn1.bias",
        ),
        (
            lambda w: others_names(drop("fc.bias")(w)),
            "they have no fc.bias",
        ),
        (
            lambda w: numbered(drop("fc.bias")(w)),
            "the first missing tensor is fc.bias",
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
    with pytest.raises(WeightsError, match=r"fc.weight is not an array of real numbers"):
        load_weights(net, tmp_path / "w.pt")
    assert_same(net, before)


def test_safetensors_keep_no_order_to_go_by(tmp_path: Path) -> None:
    save_file(numbered(weights_of(small_net(0))), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="matched by their order, which safetensors"):
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
        assign_weights(net, {name: given[name] for name in names}, "there")


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


# --- runs that start from weights ---


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
    with pytest.raises(ConfigError, match="is not the expected file"):
        tiny(f"weights={a.weights}", f"weights_digest={c.weights_digest}")
    with pytest.raises(ConfigError, match=r"none.pt cannot be read \(No such file"):
        tiny(f"weights={tmp_path}/none.pt")
