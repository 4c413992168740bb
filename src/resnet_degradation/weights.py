"""Weights from files and into files: this project's, torchvision's, and those of others.

Our layers carry torchvision's names, so that weights go from one to the other as they are. Weights
under other names are taken if they come in the same order and have the same shapes.
"""

import io
import pickle
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from resnet_degradation.errors import WeightsError
from resnet_degradation.files import replaced
from resnet_degradation.nets import ResNet
from resnet_degradation.nets.blocks import Bottleneck

# What wrappers of a net put before the names of its layers.
PREFIXES = ("module.", "_orig_mod.")
# Under which names others keep the weights beside other things.
WITHIN = ("state_dict", "model_state_dict", "model_state", "model", "net")
# How many batches a layer has seen is no weight, and old files do not tell it.
COUNTER = "num_batches_tracked"
# The name of the safetensors metadata that tells where a bottleneck block halves its map.
STRIDE_KEY = "bottleneck_stride"

Weights = dict[str, Tensor]


def read_weights(file: Path) -> tuple[Weights, dict[str, str]]:
    """The tensors in a file by their names, in order, and what else it says of them.

    It may be a checkpoint of this project, a state dict, something that holds one under a usual
    name, or safetensors. Code in it is not executed. Names lose what wrappers put before them.

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
    weights: Weights = {}
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{file} is no state dict: {name} in it is no tensor")
        if value.is_meta or value.layout != torch.strided or not _is_real(value):
            raise WeightsError(f"{file} cannot be used: {name} in it is no array of real numbers")
        weights[_own_name(name)] = value
    return weights, metadata


def _is_real(value: Tensor) -> bool:
    return value.is_floating_point() or value.dtype == torch.int64  # which counts batches


def _state_dict(loaded: Any) -> tuple[Any, dict[str, str]]:
    """The state dict in what torch.load gives, and what is said of its net."""
    if not isinstance(loaded, dict):
        return None, {}
    if isinstance(parts := loaded.get("parts"), dict):  # a checkpoint of ours
        stride = loaded.get("belongs_to", {}).get("bottleneck_stride", "1x1")
        return parts.get("net"), {STRIDE_KEY: stride}
    for name in WITHIN:
        if isinstance(loaded.get(name), dict):
            return loaded[name], {}
    return loaded, {}


def _own_name(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def num_classes(file: Path) -> int:
    """How many classes the weights in a file tell apart: the biases of their last layer."""
    weights, _ = read_weights(file)
    vectors = [value for value in _without_counters(weights.items()).values() if value.dim() == 1]
    bias = weights.get("fc.bias", vectors[-1] if vectors else None)
    if bias is None:
        raise WeightsError(f"{file} holds no weights of a net: there is no layer with biases")
    return len(bias)


def load_weights(net: ResNet, file: Path) -> None:
    """Give a net the weights and running statistics in a file.

    They go by their names, if these are the net's, or else by their order, which safetensors do not
    keep. Raises WeightsError, naming the first tensor that does not fit, unless all do; the net is
    then as it was.
    """
    weights, metadata = read_weights(file)
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
    with torch.no_grad():
        for name, other in pairs:
            wanted[name].copy_(given[other])


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


def write_weights(net: ResNet, file: Path, about: dict[str, str]) -> None:
    """Write a net's weights and running statistics under torchvision's names.

    To a .safetensors file, which also says `about` what net they are, or to a .pt or .pth file,
    which torch.load reads. Raises WeightsError for another kind of file, OSError if it cannot be
    written.
    """
    check_export(file)
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        stride = bottleneck_stride(net)
        metadata = {"format": "pt", **about} | ({} if stride is None else {STRIDE_KEY: stride})
        content = save(weights, metadata=metadata)
    else:
        buffer = io.BytesIO()
        torch.save(weights, buffer)
        content = buffer.getvalue()
    with replaced(file, "wb") as stream:
        stream.write(content)


def check_export(file: Path) -> None:
    """Raise WeightsError if weights cannot be written to a file of this name."""
    if file.suffix not in (".safetensors", ".pt", ".pth"):
        raise WeightsError(f"export={file} is not valid: name a .safetensors, .pt or .pth file")
