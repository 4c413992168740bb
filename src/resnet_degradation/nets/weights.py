"""Weights from files and into files: this project's, torchvision's, and those of others.

Our layers carry torchvision's names, so that weights go from one to the other as they are. Names of
other public layouts are translated (see layouts). Weights under unknown names are taken if they
come in the same order and have the same shapes.
"""

import io
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from resnet_degradation.nets.blocks import Bottleneck, ZeroPaddedIdentity
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.nets.weight_layouts import (
    Layout,
    depth_of,
    foreign_net,
    recognize_layout,
    standard_names,
)
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import WeightsError

# Under which names others keep the weights beside other things.
WITHIN = ("state_dict", "model_state_dict", "model_state", "model", "net")

# How many batches a layer has seen is no weight, and old files do not tell it.
COUNTER = "num_batches_tracked"

# What shapes do not tell of a net: where a bottleneck block halves its map, and where option A puts
# its zeros. Files that are written here say it beside the tensors, under these names.
STRIDE_KEY, PADDING_KEY = "bottleneck_stride", "shortcut_padding"
DEFAULTS = {STRIDE_KEY: "1x1", PADDING_KEY: "behind"}
Weights = dict[str, Tensor]


class WeightsFile(NamedTuple):
    """The content of a file of weights."""

    weights: Weights  # in the file's order, under this project's names where its own are known
    metadata: dict[str, str]  # what it says of them
    layout: Layout


def read_weights(file: Path) -> WeightsFile:
    """The tensors in a file by their names, in order, and what else it says of them.

    It may be a checkpoint of this project, a state dict, something that holds one under a usual
    name, or safetensors. Code in it is not executed.

    Raises WeightsError if it is none of these.
    """
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                metadata = dict(opened.metadata() or {})
                loaded: Any = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        else:
            loaded, metadata = _state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except OSError as error:
        raise WeightsError(
            f"cannot read weights from {file} ({error.strerror or error})"
        ) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{file} holds more than tensors and numbers, which is not loaded as it could be code: "
            "save the state dict alone, as torch.save(net.state_dict(), FILE)"
        ) from error
    except Exception as error:  # readers raise errors of many kinds on damaged files
        raise WeightsError(f"{file} is no file of weights, or damaged") from error
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsError(f"{file} holds no weights by name")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{file} is no state dict: {name} in it is no tensor")
        if value.is_meta or value.layout != torch.strided or not _is_real(value):
            raise WeightsError(f"{file} cannot be used: {name} in it is no array of real numbers")
    names = standard_names(list(loaded))
    layout = recognize_layout(names, metadata.get(PADDING_KEY))
    return WeightsFile({names[n]: value for n, value in loaded.items()}, metadata, layout)


def _is_real(value: Tensor) -> bool:
    return value.is_floating_point() or value.dtype == torch.int64  # which counts batches


def _state_dict(loaded: Any) -> tuple[Any, dict[str, str]]:
    """The state dict in what torch.load gives, and what is said of its net."""
    if not isinstance(loaded, dict):
        return None, {}
    if isinstance(parts := loaded.get("parts"), dict):  # a checkpoint of ours
        settings = loaded.get("belongs_to", {})
        return parts.get("net"), {k: settings.get(k, usual) for k, usual in DEFAULTS.items()}
    for name in WITHIN:
        if isinstance(loaded.get(name), dict):
            return _state_dict(loaded[name])
    # torch keeps this attribute of a state dict, by the names of modules; "" is the whole net.
    of_net = getattr(loaded, "_metadata", {}).get("", {})
    return loaded, {key: of_net[key] for key in DEFAULTS if key in of_net}


def num_classes(file: Path) -> int:
    """How many classes the weights in a file tell apart: the biases of their last layer."""
    weights = read_weights(file).weights
    vectors = [value for value in _without_counters(weights.items()).values() if value.dim() == 1]
    bias = weights.get("fc.bias", vectors[-1] if vectors else None)
    if bias is None:
        raise WeightsError(f"{file} holds no weights of a net: there is no layer with biases")
    return len(bias)


def load_weights(net: ResNet, file: Path) -> str:
    """Give a net the weights and running statistics in a file; what the file was taken for.

    They go by their names, if these are the net's or known, or else by their order, which
    safetensors do not keep. A warning says where zeros of option A go otherwise in the file's net.

    Raises WeightsError, naming the first tensor that does not fit, unless all do; the net is then
    as it was.
    """
    weights, metadata, layout = read_weights(file)
    if not net.has_custom_blocks:
        check_kind(weights, str(file))
        _check_depth(net, weights, str(file))
    _check_stride(net, file, metadata)
    own = _without_counters(net.state_dict().items()).keys()
    given = _without_counters(weights.items()).keys()
    if file.suffix == ".safetensors" and own != given and not (given < own or own < given):
        other = next(name for name in given if name not in own)
        raise WeightsError(
            f"the weights in {file} do not fit the net: the net has no {other}, and safetensors "
            "keep no order by which other names could be understood: save them as .pt"
        )
    assign(net, weights, str(file))
    return f"{file.name}: {layout.name}{_shortcuts(net, file, layout)}"


def _shortcuts(net: ResNet, file: Path, layout: Layout) -> str:
    """Which shortcuts a net has that was given the weights in a file; nothing if it is plain."""
    padding = shortcut_padding(net)
    if padding is None:
        return f", shortcut={layout.shortcut}" if layout.shortcut in ("B", "C") else ""
    if layout.shortcut_padding not in (None, padding):
        warnings.warn(
            f"{file} is of a net with shortcut_padding={layout.shortcut_padding}, and "
            f"shortcut_padding={padding} is used, as given",
            stacklevel=3,
        )
    return f", shortcut=A with shortcut_padding={padding}"


def check_kind(weights: Weights, source: str) -> None:
    """Raise WeightsError for weights of a kind of net that the paper does not have."""
    if kind := foreign_net(weights):
        raise WeightsError(f"the weights in {source} fit no net here: they have {kind}")


def _check_depth(net: ResNet, weights: Weights, source: str) -> None:
    there = depth_of(weights)
    if there is not None and there[1] != net.arch.num_blocks:
        depth, blocks = there
        family = "imagenet" if len(blocks) > 3 else "cifar"
        hint = "" if family == net.arch.family else f": give family={family}"
        raise WeightsError(
            f"the weights in {source} do not fit the net: they are of a net of depth {depth} with "
            f"{', '.join(map(str, blocks))} blocks in its stages, and depth={net.arch.depth} has "
            f"{', '.join(map(str, net.arch.num_blocks))}{hint}"
        )


def assign(net: nn.Module, weights: Weights, source: str) -> None:
    """Give a net these weights; see `load_weights`."""
    wanted = _without_counters(net.state_dict().items())
    given = _without_counters(weights.items())
    if missing := next((name for name in wanted if name not in given), None):
        if given.keys() < wanted.keys():
            raise WeightsError(_misfit(source, f"they have no {missing}", missing))
        pairs = list(zip(wanted, given, strict=False))
    else:
        if extra := next((name for name in given if name not in wanted), None):
            raise WeightsError(_misfit(source, f"the net has no {extra}", extra))
        pairs = [(name, name) for name in wanted]
    for name, other in pairs:
        if wanted[name].shape != given[other].shape or not _same_kind(name, other, wanted):
            label = name if name == other else f"{other}, where the net has {name}"
            hint = ""
            if name.startswith("fc.") and len(given[other]) != len(wanted[name]):
                hint = f" ({len(given[other])} classes there, {len(wanted[name])} in the data)"
            elif name != other and other in wanted:
                hint = " (another order of layers, as that of pre-activation nets)"
            raise WeightsError(
                f"the weights in {source} do not fit the net: the first that does not is {label}: "
                f"it is {_shape(given[other])}, and {_shape(wanted[name])} is wanted{hint}"
            )
    if len(given) != len(wanted):
        longer, what = (given, "one too many") if len(given) > len(wanted) else (wanted, "missing")
        first = list(longer)[len(pairs)]
        raise WeightsError(
            f"the weights in {source} do not fit the net: {len(given)} tensors instead of "
            f"{len(wanted)}; the first that is {what} is {first}"
        )
    for name, other in pairs:
        _check_values(given[other].to(wanted[name].dtype), name, other, source)
    with torch.no_grad():
        for name, other in pairs:
            wanted[name].copy_(given[other])


def _check_values(values: Tensor, name: str, other: str, source: str) -> None:
    """Raise WeightsError for values that no net has; `other` is the tensor's name in the file."""
    if not values.isfinite().all():
        raise WeightsError(
            f"the weights in {source} cannot be used: {other} in them is not finite (NaN or "
            "infinite): the training that they are from diverged, or the file is damaged"
        )
    if name.endswith("running_var") and (values < 0).any():
        raise WeightsError(
            f"the weights in {source} cannot be used: {other} in them is a variance, and negative"
        )


def _without_counters(items: Iterable[tuple[str, Tensor]]) -> Weights:
    return {name: value for name, value in items if not name.endswith(COUNTER)}


def _same_kind(name: str, other: str, wanted: Weights) -> bool:
    """Whether two names can be of the same thing: a mean is no variance, whatever its shape."""
    if other in wanted:
        return name == other
    return name.rpartition(".")[2] == other.rpartition(".")[2]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _misfit(source: str, what: str, name: str) -> str:
    hint = ""
    if "downsample" in name:
        hint = ". Projection shortcuts are shortcut=B (torchvision's), or C; option A has none"
    return f"the weights in {source} do not fit the net: {what}{hint}"


def _check_stride(net: ResNet, file: Path, metadata: dict[str, str]) -> None:
    """Raise WeightsError, or warn, if bottleneck blocks may halve their maps elsewhere."""
    own = bottleneck_stride(net)
    if own is None:
        return
    there = metadata.get(STRIDE_KEY, own)
    if there != own:
        raise WeightsError(
            f"the weights in {file} are of a net with bottleneck_stride={there}, not {own}: give "
            f"bottleneck_stride={there}"
        )
    if STRIDE_KEY not in metadata and own == "1x1":
        warnings.warn(
            f"{file} does not say which layer of its bottleneck blocks halves the map, and "
            "bottleneck_stride=1x1 is taken, as in the paper; in torchvision's nets it is 3x3",
            stacklevel=3,
        )


def bottleneck_stride(net: ResNet) -> str | None:
    """Which layer of a net's bottleneck blocks halves the map, 1x1 or 3x3; None if it has none."""
    blocks = [module for module in net.modules() if isinstance(module, Bottleneck)]
    if not blocks:
        return None
    return "3x3" if any(block.conv2.stride != (1, 1) for block in blocks) else "1x1"


def shortcut_padding(net: ResNet) -> str | None:
    """Where a net's shortcuts put the zeros of option A; None if it has no such shortcuts."""
    return next((m.padding for m in net.modules() if isinstance(m, ZeroPaddedIdentity)), None)


def write_weights(net: ResNet, file: Path, about: dict[str, str]) -> None:
    """Write a net's weights and running statistics under torchvision's names.

    To a .safetensors file, or to a .pt or .pth file, which torch.load reads. Beside the tensors it
    says `about` what net they are, and what their shapes leave open. Raises WeightsError for
    another kind of file, OSError if it cannot be written.
    """
    check_export(file)
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    left_open = {STRIDE_KEY: bottleneck_stride(net), PADDING_KEY: shortcut_padding(net)}
    metadata = {**about, **{key: value for key, value in left_open.items() if value is not None}}
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        content = save(weights, metadata={"format": "pt", **metadata})
    else:
        state = OrderedDict(weights)
        state._metadata = {"": metadata}  # type: ignore[attr-defined]  # see _state_dict
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
    with atomic_write(file, "wb") as stream:
        stream.write(content)


def check_export(file: Path) -> None:
    """Raise WeightsError if weights cannot be written to a file of this name."""
    if file.suffix not in (".safetensors", ".pt", ".pth"):
        raise WeightsError(f"export={file} is not valid: name a .safetensors, .pt or .pth file")
