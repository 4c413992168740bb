"""The paper's numbers (He et al., CVPR 2016), each with its table, and what they were made with."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from resnet_degradation.config.architectures import IMAGENET_DEPTHS, Family
from resnet_degradation.config.identity import data_name, differing_settings, setting
from resnet_degradation.config.resolve import default_warmup
from resnet_degradation.config.schema import Config, DataConfig, RecipeConfig


@dataclass(frozen=True)
class Reference:
    """An error of the paper: in percent, top-1, on the test (or validation) set."""

    error: float
    spread: float | None  # standard deviation over five runs, where the paper gives it
    table: str
    testing: str  # how it was tested
    top5: float | None = None  # top-5 error, where the paper gives it

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.2f}"
        return f"{self.error:.2f}{spread}"


def _cifar(error: float, spread: float | None = None) -> Reference:
    return Reference(error, spread, "Table 6", "single view")


def _imagenet(error: float, table: str, top5: float | None = None) -> Reference:
    return Reference(error, None, table, "ten-crop", top5)


def _multi_scale(error: float, top5: float) -> Reference:
    return Reference(error, None, "Table 4", "multi-scale", top5)


# Depth -> ResNets on CIFAR-10. The paper prints no numbers for its plain nets. Of five runs of
# depth 110 it gives mean and deviation, and the best (6.43), which is a choice on the test set.
CIFAR = {
    20: _cifar(8.75),
    32: _cifar(7.51),
    44: _cifar(7.17),
    56: _cifar(6.97),
    110: _cifar(6.61, 0.16),
    1202: _cifar(7.93),
}

# (Depth, shortcut option or None for a plain net) -> errors on ImageNet, top-5 of them in Table 3.
IMAGENET = {
    (18, None): _imagenet(27.94, "Table 2"),
    (34, None): _imagenet(28.54, "Table 2", 10.02),
    (18, "A"): _imagenet(27.88, "Table 2"),
    (34, "A"): _imagenet(25.03, "Table 2", 7.76),
    (34, "B"): _imagenet(24.52, "Table 3", 7.46),
    (34, "C"): _imagenet(24.19, "Table 3", 7.40),
    (50, "B"): _imagenet(22.85, "Table 3", 6.71),
    (101, "B"): _imagenet(21.75, "Table 3", 6.05),
    (152, "B"): _imagenet(21.43, "Table 3", 5.71),
}

# (Depth, shortcut option) -> errors on ImageNet by several scales, single models.
MULTI_SCALE = {
    (34, "B"): _multi_scale(21.84, 5.71),
    (34, "C"): _multi_scale(21.53, 5.60),
    (50, "B"): _multi_scale(20.74, 5.25),
    (101, "B"): _multi_scale(19.87, 4.60),
    (152, "B"): _multi_scale(19.38, 4.49),
}

# Sections 4.2 and 3.4. What the paper leaves open (what a plateau is) is not compared.
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

# Settings that are not compared: what the paper leaves open, and what the name of the data says.
NOT_COMPARED = (
    *(f"recipe.{key}" for key in ("plateau_every", "plateau_patience", "plateau_threshold")),
    "recipe.warmup_window",
    "data.root",
    "data.loader",
)

DATA = {
    "cifar": DataConfig(name="cifar10", image_size=32),
    "imagenet": DataConfig(name="imagenet", image_size=224),
}

# What the data sets hold: CIFAR-10's test images, ImageNet's validation images.
NUM_TEST_IMAGES = {"cifar": 10_000, "imagenet": 50_000}


def reference(config: Config) -> Reference | None:
    """What the paper reports of this net, whatever it is trained on here; None if nothing."""
    if config.width != 1 or config.block is not None:
        return None
    if config.family == "cifar":
        paper_like = config.residual and config.shortcut == "A"
        return CIFAR.get(config.depth) if paper_like else None
    if IMAGENET_DEPTHS[config.depth][0] == "bottleneck" and config.bottleneck_stride != "1x1":
        return None
    return IMAGENET.get((config.depth, config.shortcut))


def reference_by(config: Config, protocol: str) -> Reference | None:
    """What the paper reports of this net by a testing protocol; None if nothing."""
    usual = reference(config)
    if usual is None:
        return None
    if protocol == "multi-scale":
        shortcut = str(config.shortcut)
        return MULTI_SCALE.get((config.depth, shortcut)) if config.family == "imagenet" else None
    return usual if usual.testing == {"center": "single view"}.get(protocol, protocol) else None


def paper_config(config: Config) -> Config:
    """The settled configuration by which the paper trained the net of another configuration."""
    family = cast(Family, config.family)
    recipe = replace(RECIPES[family], warmup=default_warmup(config.depth, family))
    return Config(
        depth=config.depth,
        residual=config.residual,
        shortcut=config.shortcut,
        family=family,
        seed=config.seed,
        data=DATA[family],
        recipe=recipe,
    )


def differences(config: Config, num_skipped: int = 0) -> list[str]:
    """In what a run was made differently from the paper's of the same net; empty if in nothing.

    config: a settled one. num_skipped: how many images were left out as unreadable. Every setting
    of the run's identity is compared, so that one which is new is not forgotten here.
    """
    theirs = paper_config(config)
    found = [
        _in_words(key, config)
        for key in differing_settings([config, theirs])
        if key not in NOT_COMPARED
        and not (key == "recipe.milestones" and _shares(config.recipe) == _shares(theirs.recipe))
    ]
    return found + ([f"unreadable images left out: {num_skipped:,}"] if num_skipped else [])


def _shares(recipe: RecipeConfig) -> list[Any]:
    """The milestones, as shares of the length where they can be: 32k of 64k is half of it."""
    length = recipe.iterations
    return [
        m / length if isinstance(m, int) and isinstance(length, int) else m
        for m in recipe.milestones
    ]


def _in_words(key: str, config: Config) -> str:
    """A setting that is not the paper's."""
    value = setting(config, key)
    held_out = f"{config.data.validation_fraction:.0%} of the training set held out"
    words = {
        "block": f"blocks {value}",
        "data.name": f"data {data_name(config)}",
        "data.image_size": f"images of {value}",
        "data.validation_fraction": held_out,
        "data.mean": f"mean per {value}" if isinstance(value, str) else f"mean {value}",
        "data.std": f"divided by {value}",
        "extends": f"initialized with the solution of plain-{value}",
        "weights_digest": f"initialized with the weights of {Path(str(config.weights)).name}",
    }
    return words.get(key, f"{key.rpartition('.')[2]} {value}")
