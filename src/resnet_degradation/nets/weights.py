"""Reads and writes files of weights: this project's, torchvision's, and other public ones.

Names of other public layouts are translated to torchvision's names, which this project uses too.
Files with unknown names are accepted if the order and shapes of the tensors match the net.
"""

import io
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import WeightsError

# Keys of public files whose value is the state dict, next to other entries.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net")

# Keys of metadata: settings that tensor shapes do not determine, with this project's defaults.
STRIDE_KEY, PADDING_KEY = "bottleneck_stride", "shortcut_padding"
DEFAULTS = {STRIDE_KEY: "1x1", PADDING_KEY: "behind"}

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """The settings that a file's tensors imply for its net; None if they do not determine it."""

    name: str
    shortcut: str | None  # A, B or C
    shortcut_padding: str | None  # behind or around


class WeightsFile(NamedTuple):
    """The content of a file of weights."""

    weights: Weights  # in the file's order, under standard names if the layout is known
    metadata: dict[str, str]
    layout: Layout


def read_weights(file: Path) -> WeightsFile:
    """The tensors in a file, in order, with its metadata. Code in the file is not executed.

    The file is a checkpoint of this project, a state dict (possibly inside a dictionary, under a
    key of WRAPPERS), or safetensors. Raises WeightsError if it is none of these.
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
            f"{file} holds other objects than tensors and numbers, which are not loaded because "
            "they could run code: save only the state dict: torch.save(net.state_dict(), FILE)"
        ) from error
    except Exception as error:  # readers raise errors of many kinds on damaged files
        raise WeightsError(f"{file} is not a file of weights, or is damaged") from error
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsError(f"{file} holds no named weights")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{file} is not a state dict: {name} in it is not a tensor")
        is_real = value.is_floating_point() or value.dtype == torch.int64  # batch counters
        if value.is_meta or value.layout != torch.strided or not is_real:
            raise WeightsError(
                f"{file} cannot be used: {name} in it is not an array of real numbers"
            )
    names = _standard_names(list(loaded))
    layout = _recognize_layout(names, metadata.get(PADDING_KEY))
    return WeightsFile({names[n]: value for n, value in loaded.items()}, metadata, layout)


def _state_dict(loaded: Any) -> tuple[Any, dict[str, str]]:
    """The state dict and the metadata in what torch.load returns."""
    if not isinstance(loaded, dict):
        return None, {}
    if isinstance(parts := loaded.get("parts"), dict):  # a checkpoint of this project
        settings = loaded.get("belongs_to", {})
        return parts.get("net"), {k: settings.get(k, default) for k, default in DEFAULTS.items()}
    for key in WRAPPERS:
        if isinstance(loaded.get(key), dict):
            return _state_dict(loaded[key])
    # torch saves this attribute of a state dict; its keys name modules, and "" is the whole net.
    metadata = getattr(loaded, "_metadata", {}).get("", {})
    return loaded, {key: metadata[key] for key in DEFAULTS if key in metadata}


def _standard_names(names: list[str]) -> dict[str, str]:
    """The names in a file, mapped to this project's (and torchvision's) names of the tensors.

    Prefixes of wrappers are removed (`module.`, `model.`, `_orig_mod.`), `linear` is the last
    layer, `shortcut` a projection. Unknown names do not change.
    """
    first = min((n for n in names if f".{n}".endswith(".conv1.weight")), key=len, default="")
    prefix = first.removesuffix("conv1.weight")
    if not first or not all(name.startswith(prefix) for name in names):
        return {name: name for name in names}
    head = "fc" if f"{prefix}fc.weight" in names else "linear"
    return {
        name: re.sub(rf"^{head}\.", "fc.", name.removeprefix(prefix)).replace(
            ".shortcut.", ".downsample."
        )
        for name in names
    }


def _recognize_layout(names: Mapping[str, str], shortcut_padding: str | None) -> Layout:
    """The layout of a file.

    names: the names in the file, each with its standard name.
    shortcut_padding: from the file's metadata, if it is there.
    """
    originals = {standard: name for name, standard in names.items()}
    blocks = {match[0] for name in originals if (match := re.match(r"layer\d+\.\d+\.", name))}
    if "conv1.weight" not in originals or not blocks:
        return Layout("unknown names, taken in their order", None, shortcut_padding)
    projections = {name.partition("downsample")[0] for name in originals if "downsample" in name}
    shortcut = "A" if not projections else "C" if projections == blocks else "B"
    if originals.get("fc.weight", "").endswith("linear.weight"):
        # The public files of this layout have option A's zeros on both sides.
        name = "the public CIFAR layout, with `linear` as the last layer"
        return Layout(name, shortcut, shortcut_padding or ("around" if shortcut == "A" else None))
    return Layout("torchvision's names of layers", shortcut, shortcut_padding)


def num_classes(file: Path) -> int:
    """The number of classes of the net in a file: the biases of its last layer."""
    weights = _without_counters(read_weights(file).weights)
    vectors = [value for value in weights.values() if value.dim() == 1]
    bias = weights.get("fc.bias", vectors[-1] if vectors else None)
    if bias is None:
        raise WeightsError(f"{file} holds no weights of a net: there is no layer with biases")
    return len(bias)


def load_weights(net: ResNet, file: Path) -> str:
    """Load the weights and running statistics in a file into a net; describe the file's layout.

    Tensors are matched by name, or else by order, which safetensors do not keep. Warns if the file
    implies another `shortcut_padding` than the net has.

    Raises WeightsError, naming the first tensor that does not fit; the net is then unchanged.
    """
    weights, metadata, layout = read_weights(file)
    _check_stride(net, file, metadata)
    assign(net, weights, str(file), ordered=file.suffix != ".safetensors")
    description = f"{file.name}: {layout.name}"
    padding = net.shortcut_padding
    if padding is None:
        projects = layout.shortcut in ("B", "C")
        return f"{description}, shortcut={layout.shortcut}" if projects else description
    if layout.shortcut_padding not in (None, padding):
        warnings.warn(
            f"{file} is of a net with shortcut_padding={layout.shortcut_padding}, but the given "
            f"shortcut_padding={padding} is used",
            stacklevel=2,
        )
    return f"{description}, shortcut=A with shortcut_padding={padding}"


def assign(net: nn.Module, weights: Weights, source: str, *, ordered: bool = True) -> None:
    """Load weights into a net.

    ordered: tensors under other names may be matched by their order. Raises WeightsError, naming
    the first tensor that does not fit; the net is then unchanged.
    """
    expected, loaded = _without_counters(net.state_dict()), _without_counters(weights)
    for name, other in (pairs := _match_names(expected, loaded, source, ordered)):
        value, wanted = loaded[other], expected[name]
        known = other in expected  # if it is not, only the last part of the name must agree
        kinds = (name, other) if known else (name.rpartition(".")[2], other.rpartition(".")[2])
        if value.shape != wanted.shape or kinds[0] != kinds[1]:
            label = name if name == other else f"{other}, where the net has {name}"
            hint = ""
            if name.startswith("fc.") and len(value) != len(wanted):
                hint = f" ({len(value)} classes in the file, {len(wanted)} in the data)"
            elif name != other and known:
                hint = " (the layers have another order, as in pre-activation nets)"
            found, needed = ("x".join(map(str, t.shape)) or "a number" for t in (value, wanted))
            raise _misfit(
                source, f"the first that differs is {label}: expected {needed}, found {found}{hint}"
            )
    if len(loaded) != len(expected):
        too_many = len(loaded) > len(expected)
        longer, problem = (loaded, "extra") if too_many else (expected, "missing")
        raise _misfit(
            source,
            f"{len(loaded)} tensors instead of {len(expected)}; the first {problem} tensor is "
            f"{list(longer)[len(pairs)]}",
        )
    for name, other in pairs:
        value = loaded[other].to(expected[name].dtype)
        finite = bool(value.isfinite().all())
        if not finite or (name.endswith("running_var") and bool((value < 0).any())):
            fault = "is a negative variance" if finite else "is not finite (NaN or infinite)"
            raise WeightsError(
                f"the weights in {source} cannot be used: {other} {fault}. The training that "
                "produced them diverged, or the file is damaged"
            )
    with torch.no_grad():
        for name, other in pairs:
            expected[name].copy_(loaded[other])


def _match_names(
    expected: Weights, loaded: Weights, source: str, ordered: bool
) -> list[tuple[str, str]]:
    """Pairs of a name in the net and a name in the file."""
    missing = [name for name in expected if name not in loaded]
    extra = [name for name in loaded if name not in expected]
    if missing and extra:
        if not ordered:
            raise _misfit(
                source,
                f"the net has no {extra[0]}. Other names are matched by the order of tensors, "
                "which safetensors do not keep: save the weights as .pt",
            )
        return list(zip(expected, loaded, strict=False))
    if missing or extra:
        name = [*missing, *extra][0]
        hint = ""
        if "downsample" in name:
            hint = ". Projection shortcuts are shortcut=B (torchvision's), or C; option A has none"
        raise _misfit(source, f"{'they have' if missing else 'the net has'} no {name}{hint}")
    return [(name, name) for name in expected]


def _misfit(source: str, problem: str) -> WeightsError:
    return WeightsError(f"the weights in {source} do not fit the net: {problem}")


def _without_counters(weights: Weights) -> Weights:
    """The weights without batch counters, which old files lack."""
    return {name: v for name, v in weights.items() if not name.endswith("num_batches_tracked")}


def _check_stride(net: ResNet, file: Path, metadata: dict[str, str]) -> None:
    """Raise WeightsError, or warn, if the file's bottleneck blocks may have another stride."""
    stride = net.bottleneck_stride
    if stride is None:
        return
    if (other := metadata.get(STRIDE_KEY, stride)) != stride:
        raise WeightsError(
            f"the weights in {file} are of a net with bottleneck_stride={other}, not {stride}: "
            f"set bottleneck_stride={other}"
        )
    if STRIDE_KEY not in metadata and stride == "1x1":
        warnings.warn(
            f"{file} does not say which layer of its bottleneck blocks has the stride, and "
            "bottleneck_stride=1x1 is assumed, as in the paper; in torchvision's nets it is 3x3",
            stacklevel=3,
        )


def write_weights(net: ResNet, file: Path, about: dict[str, str]) -> None:
    """Write a net's weights and running statistics to a .safetensors, .pt or .pth file.

    The metadata are `about` and the settings that tensor shapes do not determine. Raises
    WeightsError for another suffix, OSError if the file cannot be written.
    """
    check_export(file)
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    undetermined = {STRIDE_KEY: net.bottleneck_stride, PADDING_KEY: net.shortcut_padding}
    metadata = {**about, **{key: value for key, value in undetermined.items() if value is not None}}
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
