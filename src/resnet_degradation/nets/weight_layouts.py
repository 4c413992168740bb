"""The layouts of files of weights: how they name a net's tensors, and which net that makes it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = re.compile(r"layer(\d+)\.(\d+)\.")


@dataclass(frozen=True)
class Layout:
    """What names, and what else a file says, tell of its net; None where they tell nothing."""

    name: str
    shortcut: str | None  # A, B or C
    shortcut_padding: str | None  # behind or around


def standard_names(names: list[str]) -> dict[str, str]:
    """The names in a file, each with the name that this project (and torchvision) gives the tensor.

    What wrappers put before all names is removed (`module.`, `model.`, `_orig_mod.`), `linear` is
    the last layer, `shortcut` a projection. Names of other kinds stay as they are.
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

    names: those in the file, each with its translation.
    shortcut_padding: what the file says of it apart from names, if anything.
    """
    originals = {translation: name for name, translation in names.items()}
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


def depth_of(weights: Mapping[str, Tensor]) -> tuple[int, tuple[int, ...]] | None:
    """The layers of a net and the blocks in each stage, by its names; None if they do not tell."""
    blocks = {(int(match[1]), int(match[2])) for name in weights if (match := BLOCK.match(name))}
    if not blocks:
        return None
    stages = sorted({stage for stage, _ in blocks})
    counts = tuple(sum(stage == other for other, _ in blocks) for stage in stages)
    layers = 3 if any(BLOCK.match(name) and "conv3" in name for name in weights) else 2
    return 2 + layers * len(blocks), counts


def foreign_net(weights: Mapping[str, Tensor]) -> str | None:
    """What kind of net weights are of, if no net of the paper has such a first and last layer."""
    maps = [value for value in weights.values() if value.dim() == 4]
    matrices = [value for value in weights.values() if value.dim() == 2]
    if not maps or not matrices:
        return None
    first, last = maps[0].shape, matrices[-1].shape
    if first[2:] == torch.Size([3, 3]) and last[1] >= 8 * first[0]:
        four_stages = any("layer4." in name for name in weights)
        kind = (
            "the four-stage ResNet-18 for CIFAR"
            if four_stages
            else "wide ResNets and bottleneck nets for CIFAR"
        )
        return (
            f"a 3x3 first layer of {first[0]} channels and {last[1]} channels at the end, as in "
            f"{kind}; the paper has no such net: its CIFAR nets have three stages of 16, 32 and 64 "
            "channels"
        )
    return None
