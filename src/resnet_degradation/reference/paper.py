"""The paper's errors (He et al., CVPR 2016), each with its table, and its training settings."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from resnet_degradation.config.architectures import IMAGENET_DEPTHS, Family
from resnet_degradation.config.identity import data_name, differing_settings, get_setting
from resnet_degradation.config.resolve import default_warmup
from resnet_degradation.config.schema import Config, DataConfig, RecipeConfig


@dataclass(frozen=True)
class Reference:
    """An error that the paper reports: top-1, in percent, on the test (or validation) set."""

    error: float
    table: str
    testing: str  # how it was tested
    top5: float | None = None  # top-5 error, where the paper gives it
    spread: float | None = None  # standard deviation over five runs, where the paper gives it

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.2f}"
        return f"{self.error:.2f}{spread}"


# Depth -> ResNets on CIFAR-10. The paper prints no numbers for its plain nets. For five
# runs of depth 110 it gives mean and deviation, and the best (6.43), selected on the test set.
CIFAR = {
    depth: Reference(error, "Table 6", "single view", spread=0.16 if depth == 110 else None)
    for depth, error in {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.61, 1202: 7.93}.items()
}

# (Depth, shortcut option or None for a plain net) -> errors on ImageNet; top-5 is from Table 3.
IMAGENET = {
    (18, None): Reference(27.94, "Table 2", "ten-crop"),
    (34, None): Reference(28.54, "Table 2", "ten-crop", 10.02),
    (18, "A"): Reference(27.88, "Table 2", "ten-crop"),
    (34, "A"): Reference(25.03, "Table 2", "ten-crop", 7.76),
    (34, "B"): Reference(24.52, "Table 3", "ten-crop", 7.46),
    (34, "C"): Reference(24.19, "Table 3", "ten-crop", 7.40),
    (50, "B"): Reference(22.85, "Table 3", "ten-crop", 6.71),
    (101, "B"): Reference(21.75, "Table 3", "ten-crop", 6.05),
    (152, "B"): Reference(21.43, "Table 3", "ten-crop", 5.71),
}

# (Depth, shortcut option) -> errors of single models on ImageNet, tested at several scales.
MULTI_SCALE = {
    (34, "B"): Reference(21.84, "Table 4", "multi-scale", 5.71),
    (34, "C"): Reference(21.53, "Table 4", "multi-scale", 5.60),
    (50, "B"): Reference(20.74, "Table 4", "multi-scale", 5.25),
    (101, "B"): Reference(19.87, "Table 4", "multi-scale", 4.60),
    (152, "B"): Reference(19.38, "Table 4", "multi-scale", 4.49),
}

# Sections 4.2 and 3.4. What the paper does not specify, such as when the error has reached a
# plateau, is not compared.
RECIPES = {
    "cifar": RecipeConfig(),
    "imagenet": RecipeConfig(
        iterations=600_000,
        batch_size=256,
        schedule="plateau",
        warmup="never",
        augmentation="scale-jitter",
        pad=0,
        scale=[256, 480],
        colour_std=0.1,
    ),
}

# Settings that are not compared: those that the paper does not specify, and paths.
NOT_COMPARED = {
    "recipe.plateau_every",
    "recipe.plateau_patience",
    "recipe.plateau_threshold",
    "recipe.warmup_window",
    "data.root",
    "data.loader",
}

DATA = {
    "cifar": DataConfig(name="cifar10", image_size=32),
    "imagenet": DataConfig(name="imagenet", image_size=224),
}

# The sizes of CIFAR-10's test set and of ImageNet's validation set.
NUM_TEST_IMAGES = {"cifar": 10_000, "imagenet": 50_000}


def reference(config: Config) -> Reference | None:
    """The paper's error of this net, whatever data it is trained on here; None if there is none."""
    if config.width != 1 or config.block is not None:
        return None
    if config.family == "cifar":
        is_paper_net = config.residual and config.shortcut == "A"
        return CIFAR.get(config.depth) if is_paper_net else None
    if IMAGENET_DEPTHS[config.depth][0] == "bottleneck" and config.bottleneck_stride != "1x1":
        return None
    return IMAGENET.get((config.depth, config.shortcut))


def reference_under_protocol(config: Config, protocol: str) -> Reference | None:
    """The paper's error of this net under a testing protocol; None if there is none."""
    reported = reference(config)
    if reported is not None and protocol == "multi-scale":
        shortcut = str(config.shortcut)
        return MULTI_SCALE.get((config.depth, shortcut)) if config.family == "imagenet" else None
    testing = "single view" if protocol == "center" else protocol
    return reported if reported is not None and reported.testing == testing else None


def differences(config: Config, num_skipped: int = 0) -> list[str]:
    """How a run differs from the paper's run of the same net; empty if it does not.

    config: resolved. num_skipped: how many images were left out as unreadable. Every setting of
    the run's identity is compared, so that a new setting is not forgotten here.
    """
    family = cast(Family, config.family)
    paper_config = Config(
        depth=config.depth,
        residual=config.residual,
        shortcut=config.shortcut,
        family=family,
        seed=config.seed,
        data=DATA[family],
        recipe=replace(RECIPES[family], warmup=default_warmup(config.depth, family)),
    )
    found = [
        _format_difference(key, config)
        for key in differing_settings([config, paper_config])
        if key not in NOT_COMPARED
        and not (
            key == "recipe.milestones"
            and _fractions(config.recipe) == _fractions(paper_config.recipe)
        )
    ]
    return found + ([f"unreadable images left out: {num_skipped:,}"] if num_skipped else [])


def _fractions(recipe: RecipeConfig) -> list[Any]:
    """The milestones, as fractions of the length if possible: 32k of 64k is 0.5."""
    length = recipe.iterations
    return [
        m / length if isinstance(m, int) and isinstance(length, int) else m
        for m in recipe.milestones
    ]


def _format_difference(key: str, config: Config) -> str:
    value = get_setting(config, key)
    held_out = f"{config.data.validation_fraction:.0%} of the training set held out"
    words = {
        "block": f"blocks {value}",
        "data.name": f"data {data_name(config)}",
        "data.image_size": f"images of {value}x{value}",
        "data.validation_fraction": held_out,
        "data.mean": f"mean per {value}" if isinstance(value, str) else f"mean {value}",
        "data.std": f"pixels divided by {value}",
        "extends": f"initialized with the solution of plain-{value}",
        "weights_digest": f"initialized with the weights of {Path(str(config.weights)).name}",
    }
    return words.get(key, f"{key.rpartition('.')[2]} {value}")
