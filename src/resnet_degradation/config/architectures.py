"""The two families of nets in the paper: their depths, and how many blocks each depth has.

This module does not import torch, so that a configuration can be checked before torch is loaded.
"""

from dataclasses import dataclass
from typing import Literal

from resnet_degradation.system.errors import ConfigError

Family = Literal["cifar", "imagenet"]
BlockKind = Literal["basic", "bottleneck"]
FAMILIES: tuple[Family, ...] = ("cifar", "imagenet")

# A deeper CIFAR net would take minutes to build. Such a depth is probably a typo.
MAX_CIFAR_DEPTH = 9998

# Table 1: maps the depth to the kind of block and the number of blocks in conv2_x to conv5_x.
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

    `channels` holds the width of each stage's 3x3 layers. A bottleneck's output is 4 times as wide.
    """

    family: Family
    depth: int
    block: BlockKind
    num_blocks: tuple[int, ...]
    channels: tuple[int, ...]


def is_valid_depth(depth: int, family: Family) -> bool:
    """Whether `family` has a net of this depth: 6n+2 for CIFAR (section 4.2), or one in Table 1."""
    if family == "cifar":
        return 8 <= depth <= MAX_CIFAR_DEPTH and (depth - 2) % 6 == 0
    return depth in IMAGENET_DEPTHS


def choose_family(depth: int, candidates: tuple[Family, ...]) -> Family:
    """Return the first of `candidates` that has a net of this depth.

    If there is none, raises ConfigError, which lists the valid depths of every candidate.
    """
    for family in candidates:
        if is_valid_depth(depth, family):
            return family
    valid_depths = {
        "cifar": f"6n+2, such as 20, 32, 44, 56, 110 or 1202 (at most {MAX_CIFAR_DEPTH})",
        "imagenet": ", ".join(map(str, IMAGENET_DEPTHS)),
    }
    depths = [d for d in range(MAX_CIFAR_DEPTH + 1) if is_valid_depth(d, candidates[0])]
    nearest = min(depths, key=lambda valid_depth: abs(valid_depth - depth))
    choices = "; ".join(f"{family} family: {valid_depths[family]}" for family in candidates)
    hint = "" if len(candidates) == len(FAMILIES) else " (for another family, set family)"
    raise ConfigError(
        f"there is no net with depth={depth}: the nearest is {nearest}. Valid: {choices}{hint}"
    )


def find_architecture(depth: int, family: Family) -> Architecture:
    """Look up the net of `family` with this depth; raises ConfigError if there is none."""
    choose_family(depth, (family,))
    if family == "cifar":
        n = (depth - 2) // 6
        return Architecture(family, depth, "basic", (n, n, n), (16, 32, 64))
    block, num_blocks = IMAGENET_DEPTHS[depth]
    return Architecture(family, depth, block, num_blocks, (64, 128, 256, 512))


def default_shortcut(depth: int, family: Family) -> Literal["A", "B"]:
    """The paper's shortcut option: B for bottlenecks (Table 3), else A (Table 2, section 4.2)."""
    return "B" if find_architecture(depth, family).block == "bottleneck" else "A"
