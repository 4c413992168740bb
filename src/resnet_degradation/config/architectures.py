"""The two families of nets in the paper: their depths, and how many blocks each depth has.

This module does not import torch, so that a configuration is checked before torch is loaded.
"""

from dataclasses import dataclass
from typing import Literal

from resnet_degradation.system.errors import ConfigError

Family = Literal["cifar", "imagenet"]
BlockKind = Literal["basic", "bottleneck"]
FAMILIES: tuple[Family, ...] = ("cifar", "imagenet")

# A deeper net of the CIFAR family takes minutes to build, and is probably a typo.
DEEPEST = 9998

# Table 1: depth -> kind of block and number of blocks in conv2_x .. conv5_x.
IMAGENET_DEPTHS: dict[int, tuple[BlockKind, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


@dataclass(frozen=True)
class Architecture:
    """The stages of a net.

    `channels` is the width of each stage's 3x3 layers; a bottleneck's output is four times as wide.
    """

    family: Family
    depth: int
    block: BlockKind
    num_blocks: tuple[int, ...]
    channels: tuple[int, ...]


def fits(depth: int, family: Family) -> bool:
    """Whether `family` has a net of this depth: 6n+2 for CIFAR (section 4.2), else Table 1."""
    if family == "cifar":
        return 8 <= depth <= DEEPEST and (depth - 2) % 6 == 0
    return depth in IMAGENET_DEPTHS


def choose_family(depth: int, candidates: tuple[Family, ...]) -> Family:
    """The first of `candidates` that has a net of this depth.

    Raises ConfigError, listing the valid depths of every candidate, if none has one.
    """
    for family in candidates:
        if fits(depth, family):
            return family
    valid = {
        "cifar": f"6n+2, such as 20, 32, 44, 56, 110 or 1202 (at most {DEEPEST})",
        "imagenet": ", ".join(map(str, IMAGENET_DEPTHS)),
    }
    choices = "; ".join(f"{family} family: {valid[family]}" for family in candidates)
    hint = "" if len(candidates) == len(FAMILIES) else " (another family: family=cifar|imagenet)"
    raise ConfigError(f"there is no net with depth={depth}. Valid: {choices}{hint}")


def architecture(depth: int, family: Family) -> Architecture:
    """The net of `family` with `depth` weighted layers; raises ConfigError if there is none."""
    choose_family(depth, (family,))
    if family == "cifar":
        n = (depth - 2) // 6
        return Architecture(family, depth, "basic", (n, n, n), (16, 32, 64))
    block, num_blocks = IMAGENET_DEPTHS[depth]
    return Architecture(family, depth, block, num_blocks, (64, 128, 256, 512))


def default_shortcut(depth: int, family: Family) -> Literal["A", "B"]:
    """The paper's shortcut option: A in Table 2 and section 4.2, B for bottlenecks (Table 3)."""
    return "B" if architecture(depth, family).block == "bottleneck" else "A"
