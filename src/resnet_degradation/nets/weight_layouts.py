"""The layouts of files of weights: how they name a net's tensors, and which net they imply."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

BLOCK = re.compile(r"layer(\d+)\.(\d+)\.")


@dataclass(frozen=True)
class Layout:
    """What a file implies about its net; None where it implies nothing."""

    name: str
    shortcut: str | None  # A, B or C
    shortcut_padding: str | None  # behind or around


def standard_names(names: list[str]) -> dict[str, str]:
    """The names in a file, each with this project's (and torchvision's) name of the tensor.

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


def recognize_layout(names: Mapping[str, str], shortcut_padding: str | None) -> Layout:
    """The layout of a file.

    names: those in the file, each with its standard name.
    shortcut_padding: from the file's metadata, if it has that.
    """
    originals = {standard: name for name, standard in names.items()}
    blocks = {match[0] for name in originals if (match := BLOCK.match(name))}
    if "conv1.weight" not in originals or not blocks:
        return Layout("unknown names, taken in their order", None, shortcut_padding)
    projections = {name.partition("downsample")[0] for name in originals if "downsample" in name}
    shortcut = "A" if not projections else "C" if projections == blocks else "B"
    if originals.get("fc.weight", "").endswith("linear.weight"):
        # The public files of this layout have option A's zeros on both sides.
        name = "the public CIFAR layout, with `linear` as the last layer"
        return Layout(name, shortcut, shortcut_padding or ("around" if shortcut == "A" else None))
    return Layout("layers named as here and by torchvision", shortcut, shortcut_padding)


def blocks_per_stage(weights: Mapping[str, Tensor]) -> list[int]:
    """The number of blocks in each stage by the names of tensors; empty for unknown names."""
    blocks = {(int(match[1]), int(match[2])) for name in weights if (match := BLOCK.match(name))}
    stages = [stage for stage, _ in blocks]
    return [stages.count(stage) for stage in sorted(set(stages))]


def foreign_net(weights: Mapping[str, Tensor]) -> str | None:
    """What net the weights belong to, if no net of the paper has such a first and last layer."""
    kernels = [value for value in weights.values() if value.dim() == 4]
    matrices = [value for value in weights.values() if value.dim() == 2]
    if not kernels or not matrices:
        return None
    first, last = len(kernels[0]), matrices[-1].shape[1]
    if kernels[0].shape[2:] != (3, 3) or last < 8 * first:
        return None
    four_stages = any("layer4." in name for name in weights)
    kind = "the four-stage ResNet-18" if four_stages else "wide ResNets and bottleneck nets"
    return (
        f"a 3x3 first layer of {first} channels and {last} channels at the end, as in {kind} for "
        "CIFAR; the paper has no such net: its CIFAR nets have three stages of 16, 32 and 64 "
        "channels"
    )
