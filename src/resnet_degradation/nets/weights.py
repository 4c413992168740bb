"""Reads and writes weights files. Reads torchvision's and other public files, too.

Parameters have the same names as in torchvision. Names in other public files are translated. Files
with unknown names are accepted if the order and shapes of the tensors match the net.
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

# Keys under which public files store the state dict.
STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net")

# Metadata: settings that cannot be inferred from the shapes of the tensors, with their defaults.
STRIDE_KEY, PADDING_KEY = "bottleneck_stride", "shortcut_padding"
DEFAULTS = {STRIDE_KEY: "1x1", PADDING_KEY: "behind"}

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """What a file's names and tensors say about its net. None: unknown."""

    name: str
    shortcut: str | None  # A, B or C
    shortcut_padding: str | None  # behind or around


class WeightsFile(NamedTuple):
    """The content of a weights file."""

    weights: Weights  # in the file's order, with standard names if the layout is known
    metadata: dict[str, str]
    layout: Layout


def read_weights(file: Path) -> WeightsFile:
    """Read the tensors in a file, in order, and its metadata. Never executes code in the file.

    The file is a checkpoint of this project, a state dict (or a dictionary with one of the
    STATE_DICT_KEYS), or safetensors. Raises WeightsError if it is none of these.
    """
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                metadata = dict(opened.metadata() or {})
                loaded: Any = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        else:
            loaded, metadata = _unwrap(torch.load(file, map_location="cpu", weights_only=True))
    except OSError as error:
        raise WeightsError(
            f"cannot read weights from {file} ({error.strerror or error})"
        ) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{file} contains objects other than tensors and numbers, which are not loaded because "
            "they could run code: save only the state dict: torch.save(net.state_dict(), FILE)"
        ) from error
    except Exception as error:  # damaged files cause many kinds of errors
        raise WeightsError(f"{file} is not a weights file, or is damaged") from error
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsError(f"{file} contains no named weights")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{file} is not a state dict: {name} in it is not a tensor")
        is_real = value.is_floating_point() or value.dtype == torch.int64  # int64: batch counters
        if value.is_meta or value.layout != torch.strided or not is_real:
            raise WeightsError(f"{file} cannot be used: {name} is not an array of real numbers")
    names = _translate_names(list(loaded))
    layout = _recognize_layout(names, metadata.get(PADDING_KEY))
    return WeightsFile({names[n]: value for n, value in loaded.items()}, metadata, layout)


def _unwrap(loaded: Any) -> tuple[Any, dict[str, str]]:
    """Find the state dict and the metadata in an object that torch.load returned."""
    if not isinstance(loaded, dict):
        return None, {}
    if isinstance(parts := loaded.get("parts"), dict):  # a checkpoint of this project
        settings = loaded.get("belongs_to", {})
        return parts.get("net"), {k: settings.get(k, default) for k, default in DEFAULTS.items()}
    for key in STATE_DICT_KEYS:
        if isinstance(loaded.get(key), dict):
            return _unwrap(loaded[key])
    # torch saves this attribute of a state dict. Its keys are module names; "" is the whole net.
    metadata = getattr(loaded, "_metadata", {}).get("", {})
    return loaded, {key: metadata[key] for key in DEFAULTS if key in metadata}


def _translate_names(names: list[str]) -> dict[str, str]:
    """Map the names in a file to this project's names, which are torchvision's.

    Removes the prefixes of wrappers (`module.`, `model.`, `_orig_mod.`), and translates `linear` to
    `fc` and `shortcut` to `downsample`. Unknown names do not change.
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
    """Infer the layout of a file.

    names: maps the names in the file to standard names.
    shortcut_padding: from the file's metadata, if they contain it.
    """
    originals = {standard: name for name, standard in names.items()}
    blocks = {match[0] for name in originals if (match := re.match(r"layer\d+\.\d+\.", name))}
    if "conv1.weight" not in originals or not blocks:
        return Layout("unknown names, matched by order", None, shortcut_padding)
    projections = {name.partition("downsample")[0] for name in originals if "downsample" in name}
    shortcut = "A" if not projections else "C" if projections == blocks else "B"
    if originals.get("fc.weight", "").endswith("linear.weight"):
        # The public files of this layout have option A's zeros on both sides.
        name = "the public CIFAR layout, with `linear` as the last layer"
        return Layout(name, shortcut, shortcut_padding or ("around" if shortcut == "A" else None))
    return Layout("torchvision's names of layers", shortcut, shortcut_padding)


def num_classes(file: Path) -> int:
    """Count the classes of the net in a file, which are the biases of its last layer."""
    weights = _drop_batch_counters(read_weights(file).weights)
    vectors = [value for value in weights.values() if value.dim() == 1]
    bias = weights.get("fc.bias", vectors[-1] if vectors else None)
    if bias is None:
        raise WeightsError(f"{file} contains no weights of a net: no layer has biases")
    return len(bias)


def load_weights(net: ResNet, file: Path) -> str:
    """Load weights and running statistics from a file into a net; return the layout as text.

    Tensors are matched by name, or else by order, which safetensors do not keep. Warns if the net
    has another `shortcut_padding` than the file.

    Raises WeightsError, which names the first tensor that does not fit, before it changes the net.
    """
    weights, metadata, layout = read_weights(file)
    _check_stride(net, file, metadata)
    assign_weights(net, weights, str(file), ordered=file.suffix != ".safetensors")
    description = f"{file.name}: {layout.name}"
    padding = net.shortcut_padding
    if padding is None:
        has_projections = layout.shortcut in ("B", "C")
        return f"{description}, shortcut={layout.shortcut}" if has_projections else description
    if layout.shortcut_padding not in (None, padding):
        warnings.warn(
            f"{file} is from a net with shortcut_padding={layout.shortcut_padding}, but the "
            f"configured shortcut_padding={padding} is used",
            stacklevel=2,
        )
    return f"{description}, shortcut=A with shortcut_padding={padding}"


def assign_weights(net: nn.Module, weights: Weights, source: str, *, ordered: bool = True) -> None:
    """Load weights into a net.

    source: where the weights come from, for error messages.
    ordered: match tensors by their order if the names differ.

    Raises WeightsError, which names the first tensor that does not fit, before it changes the net.
    """
    expected, loaded = _drop_batch_counters(net.state_dict()), _drop_batch_counters(weights)
    for name, file_name in (pairs := _match_names(expected, loaded, source, ordered)):
        value, net_value = loaded[file_name], expected[name]
        is_known = file_name in expected
        # Only the last part of an unknown name must agree, such as "weight".
        suffixes = [n if is_known else n.rpartition(".")[2] for n in (name, file_name)]
        if value.shape != net_value.shape or suffixes[0] != suffixes[1]:
            label = name if name == file_name else f"{file_name}, where the net has {name}"
            hint = ""
            if name.startswith("fc.") and len(value) != len(net_value):
                hint = f" ({len(value)} classes in the file, {len(net_value)} in the data)"
            elif name != file_name and is_known:
                hint = " (the layers have another order, as in pre-activation nets)"
            found, needed = ("x".join(map(str, t.shape)) or "a number" for t in (value, net_value))
            problem = f"the first tensor that differs is {label}: expected {needed}, found {found}"
            raise _mismatch(source, problem + hint)
    if len(loaded) != len(expected):
        has_extra = len(loaded) > len(expected)
        longer, problem = (loaded, "extra") if has_extra else (expected, "missing")
        raise _mismatch(
            source,
            f"{len(loaded)} tensors instead of {len(expected)}; the first {problem} tensor is "
            f"{list(longer)[len(pairs)]}",
        )
    for name, file_name in pairs:
        value = loaded[file_name].to(expected[name].dtype)
        is_finite = bool(value.isfinite().all())
        if not is_finite or (name.endswith("running_var") and bool((value < 0).any())):
            fault = "is a negative variance" if is_finite else "is not finite (NaN or infinite)"
            raise WeightsError(
                f"the weights in {source} cannot be used: {file_name} {fault}. The training that "
                "produced them diverged, or the file is damaged"
            )
    with torch.no_grad():
        for name, file_name in pairs:
            expected[name].copy_(loaded[file_name])


def _match_names(
    expected: Weights, loaded: Weights, source: str, ordered: bool
) -> list[tuple[str, str]]:
    """Match names in the net with names in the file, and return them as pairs."""
    missing = [name for name in expected if name not in loaded]
    extra = [name for name in loaded if name not in expected]
    if missing and extra:
        if not ordered:
            raise _mismatch(
                source,
                f"the net has no {extra[0]}. If names differ, tensors are matched by their order, "
                "which safetensors do not keep: save the weights as .pt",
            )
        return list(zip(expected, loaded, strict=False))
    if missing or extra:
        name = [*missing, *extra][0]
        hint = ""
        if "downsample" in name:
            hint = ". Projection shortcuts are shortcut=B (torchvision's), or C; option A has none"
        raise _mismatch(source, f"{'they have' if missing else 'the net has'} no {name}{hint}")
    return [(name, name) for name in expected]


def _mismatch(source: str, problem: str) -> WeightsError:
    return WeightsError(f"the weights in {source} do not fit the net: {problem}")


def _drop_batch_counters(weights: Weights) -> Weights:
    """Remove the batch counters, because old files do not have them."""
    return {name: v for name, v in weights.items() if not name.endswith("num_batches_tracked")}


def _check_stride(net: ResNet, file: Path, metadata: dict[str, str]) -> None:
    """Raise WeightsError if the file's bottlenecks have another stride; warn if they may have."""
    stride = net.bottleneck_stride
    if stride is None:
        return
    if (file_stride := metadata.get(STRIDE_KEY, stride)) != stride:
        raise WeightsError(
            f"the weights in {file} are from a net with bottleneck_stride={file_stride}, not "
            f"{stride}: set bottleneck_stride={file_stride}"
        )
    if STRIDE_KEY not in metadata and stride == "1x1":
        warnings.warn(
            f"{file} does not say which layer of its bottleneck blocks has the stride: "
            "bottleneck_stride=1x1 is assumed, as in the paper; torchvision's nets have 3x3",
            stacklevel=3,
        )


def write_weights(net: ResNet, file: Path, metadata: dict[str, str]) -> None:
    """Write a net's weights and running statistics to a .safetensors, .pt or .pth file.

    Adds the settings that cannot be inferred from the shapes to `metadata`. Raises WeightsError
    for another suffix, OSError if the file cannot be written.
    """
    check_weights_suffix(file)
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    settings = {STRIDE_KEY: net.bottleneck_stride, PADDING_KEY: net.shortcut_padding}
    metadata = metadata | {key: value for key, value in settings.items() if value is not None}
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        content = save(weights, metadata={"format": "pt", **metadata})
    else:
        state = OrderedDict(weights)
        state._metadata = {"": metadata}  # type: ignore[attr-defined]  # see _unwrap
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
    with atomic_write(file, "wb") as stream:
        stream.write(content)


def check_weights_suffix(file: Path) -> None:
    """Raise WeightsError if weights cannot be written to a file with this suffix."""
    if file.suffix not in (".safetensors", ".pt", ".pth"):
        raise WeightsError(f"export={file} is not valid: name a .safetensors, .pt or .pth file")
