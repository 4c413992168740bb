"""The errors in the tables of the paper (He et al., CVPR 2016), and its training settings."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from resnet_degradation.config.architectures import IMAGENET_DEPTHS, Family
from resnet_degradation.config.identity import data_name, differing_settings, get_setting
from resnet_degradation.config.resolve import default_warmup
from resnet_degradation.config.schema import Config, DataConfig, RecipeConfig


@dataclass(frozen=True)
class Reference:
    """A top-1 error in percent that the paper reports: CIFAR-10 test, or ImageNet validation."""

    error: float
    table: str
    protocol: str  # single view, ten-crop or multi-scale
    top5: float | None = None  # top-5 error in percent; None if the paper does not report it
    spread: float | None = None  # standard deviation over five runs; None if not reported

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.2f}"
        return f"{self.error:.2f}{spread}"


# Depth -> error of a ResNet on CIFAR-10. The paper gives no numbers for plain nets. For five runs
# of depth 110, it gives the mean, the standard deviation, and the lowest test error (6.43).
CIFAR_ERRORS = {
    depth: Reference(error, "Table 6", "single view", spread=0.16 if depth == 110 else None)
    for depth, error in {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.61, 1202: 7.93}.items()
}

# (Depth, shortcut option or None for a plain net) -> errors on ImageNet. Top-5 is from Table 3.
IMAGENET_ERRORS = {
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

# (Depth, shortcut option) -> errors on ImageNet of single models, with multi-scale testing.
MULTI_SCALE_ERRORS = {
    (34, "B"): Reference(21.84, "Table 4", "multi-scale", 5.71),
    (34, "C"): Reference(21.53, "Table 4", "multi-scale", 5.60),
    (50, "B"): Reference(20.74, "Table 4", "multi-scale", 5.25),
    (101, "B"): Reference(19.87, "Table 4", "multi-scale", 4.60),
    (152, "B"): Reference(19.38, "Table 4", "multi-scale", 4.49),
}

# The training settings in sections 4.2 and 3.4 of the paper.
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

# Settings that list_differences ignores: paths, and what the paper does not specify, such as the
# definition of a plateau.
NOT_COMPARED = {
    "recipe.plateau_every",
    "recipe.plateau_patience",
    "recipe.plateau_threshold",
    "recipe.warmup_window",
    "data.root",
    "data.loader",
}

DATA_SETTINGS = {
    "cifar": DataConfig(name="cifar10", image_size=32),
    "imagenet": DataConfig(name="imagenet", image_size=224),
}

# The sizes of CIFAR-10's test set and of ImageNet's validation set.
NUM_TEST_IMAGES = {"cifar": 10_000, "imagenet": 50_000}


def find_reference(config: Config) -> Reference | None:
    """The paper's error of this net, whatever data `config` has; None if it reports none."""
    if config.width != 1 or config.block is not None:
        return None
    if config.family == "cifar":
        is_paper_net = config.residual and config.shortcut == "A"
        return CIFAR_ERRORS.get(config.depth) if is_paper_net else None
    if IMAGENET_DEPTHS[config.depth][0] == "bottleneck" and config.bottleneck_stride != "1x1":
        return None
    return IMAGENET_ERRORS.get((config.depth, config.shortcut))


def find_reference_for_protocol(config: Config, protocol: str) -> Reference | None:
    """The paper's error of this net by a protocol of `resnet-eval`; None if it reports none."""
    reference = find_reference(config)
    if reference is None:
        return None
    if protocol == "multi-scale":
        is_imagenet = config.family == "imagenet"
        key = (config.depth, str(config.shortcut))
        return MULTI_SCALE_ERRORS.get(key) if is_imagenet else None
    paper_protocol = "single view" if protocol == "center" else protocol
    return reference if reference.protocol == paper_protocol else None


def list_differences(config: Config, num_skipped: int = 0) -> list[str]:
    """List how a run differs from the paper's run of the same net.

    Compares all settings of the run's identity, so that a new setting cannot be forgotten here.

    config: a resolved configuration. num_skipped: number of unreadable images that were skipped.
    """
    family = cast(Family, config.family)
    paper_config = Config(
        depth=config.depth,
        residual=config.residual,
        shortcut=config.shortcut,
        family=family,
        seed=config.seed,
        data=DATA_SETTINGS[family],
        recipe=replace(RECIPES[family], warmup=default_warmup(config.depth, family)),
    )
    differences = [
        _format_difference(key, config)
        for key in differing_settings([config, paper_config])
        if key not in NOT_COMPARED
        and not (
            key == "recipe.milestones"
            and _milestone_fractions(config.recipe) == _milestone_fractions(paper_config.recipe)
        )
    ]
    if num_skipped:
        differences.append(f"unreadable images left out: {num_skipped:,}")
    return differences


def _milestone_fractions(recipe: RecipeConfig) -> list[Any]:
    """The milestones, as fractions of the length where possible: 32k of 64k is 0.5."""
    length = recipe.iterations
    return [
        m / length if isinstance(m, int) and isinstance(length, int) else m
        for m in recipe.milestones
    ]


def _format_difference(key: str, config: Config) -> str:
    value = get_setting(config, key)
    held_out = f"{config.data.validation_fraction:.0%} of the training set held out"
    descriptions = {
        "block": f"blocks {value}",
        "data.name": f"data {data_name(config)}",
        "data.image_size": f"images of {value}x{value}",
        "data.validation_fraction": held_out,
        "data.mean": f"mean per {value}" if isinstance(value, str) else f"mean {value}",
        "data.std": f"pixels divided by {value}",
        "extends": f"initialized with the solution of plain-{value}",
        "weights_digest": f"initialized with the weights of {Path(str(config.weights)).name}",
    }
    return descriptions.get(key, f"{key.rpartition('.')[2]} {value}")
