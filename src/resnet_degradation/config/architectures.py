"""The two families of nets in the paper, as tables: which depths exist and what they stack.

This module knows no torch, so a configuration can be checked before anything heavy is loaded.
"""

from dataclasses import dataclass
from typing import Literal

from resnet_degradation.system.errors import ConfigError

Family = Literal["cifar", "imagenet"]
BlockKind = Literal["basic", "bottleneck"]
FAMILIES: tuple[Family, ...] = ("cifar", "imagenet")

# Of the CIFAR family: what takes minutes to build is a slip of the finger.
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
    """What a net of one family and depth stacks.

    `channels` are the 3x3 filters of each stage; a bottleneck's output has four times as many.
    """

    family: Family
    depth: int
    block: BlockKind
    num_blocks: tuple[int, ...]
    channels: tuple[int, ...]


def fits(depth: int, family: Family) -> bool:
    """Whether `family` has a net of this depth: 6n+2 for CIFAR (section 4.2), Table 1 else."""
    if family == "cifar":
        return 8 <= depth <= DEEPEST and (depth - 2) % 6 == 0
    return depth in IMAGENET_DEPTHS


def valid_depths(family: Family) -> str:
    """The depths of `family`, for an error message."""
    if family == "cifar":
        return f"6n+2, such as 20, 32, 44, 56, 110 or 1202 (at most {DEEPEST})"
    return ", ".join(str(depth) for depth in IMAGENET_DEPTHS)


def choose_family(depth: int, candidates: tuple[Family, ...]) -> Family:
    """The first of `candidates` that has a net of this depth.

    Raises ConfigError, listing the valid depths of every candidate, if none has.
    """
    for family in candidates:
        if fits(depth, family):
            return family
    choices = "; ".join(f"{family} family: {valid_depths(family)}" for family in candidates)
    hint = "" if len(candidates) == len(FAMILIES) else " (another family: family=cifar|imagenet)"
    raise ConfigError(f"depth={depth} is the depth of no net here. Valid: {choices}{hint}")


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
