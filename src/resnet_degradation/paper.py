"""The paper's numbers (He et al., CVPR 2016), each with its table, and what they were made with."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnet_degradation.config import Config, DataConfig, RecipeConfig, data_name
from resnet_degradation.families import IMAGENET_DEPTHS


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
LEFT_OPEN = ("plateau_every", "plateau_patience", "plateau_threshold", "warmup_window")
SIZES = {"cifar": 32, "imagenet": 224}
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


def differences(config: Config) -> list[str]:
    """In what a run was made differently from the paper's of the same family; empty if in nothing.

    `config` is settled. Only what changes results is named.
    """
    family = str(config.family)
    found = []
    images = {"cifar": "cifar10", "imagenet": "imagenet"}[family]
    if config.data.name != images:
        found.append(f"data {data_name(config)}")
    if config.data.image_size != SIZES[family]:
        found.append(f"images of {config.data.image_size}")
    if config.data.validation_fraction > 0:
        found.append(f"{config.data.validation_fraction:.0%} of the training set held out")
    if config.data.mean != DataConfig().mean:
        mean = config.data.mean
        found.append(f"mean per {mean}" if isinstance(mean, str) else f"mean {mean}")
    if config.data.std is not None:
        found.append(f"divided by {config.data.std}")
    if config.block is not None:
        found.append(f"blocks {config.block}")
    if config.weights is not None:
        found.append(f"begun with the weights of {Path(config.weights).name}")
    if config.runtime.precision != "fp32":
        found.append(f"precision {config.runtime.precision}")
    recipe, paper = _comparable(config.recipe), _comparable(RECIPES[family])
    if paper["warmup"] == "auto":
        paper["warmup"] = "always" if config.depth >= 110 else "never"
    if recipe["warmup"] == paper["warmup"] == "never":
        for key in ("warmup_lr", "warmup_until"):
            paper[key] = recipe[key]
    found += [f"{key} {recipe[key]}" for key in recipe if recipe[key] != paper[key]]
    return found


def _comparable(recipe: RecipeConfig) -> dict[str, Any]:
    settings = {key: value for key, value in asdict(recipe).items() if key not in LEFT_OPEN}
    if recipe.schedule == "plateau":
        settings["milestones"] = "where the error plateaus"
    elif isinstance(recipe.iterations, int):  # 32k of 64k is the same as half of them
        settings["milestones"] = [
            m / recipe.iterations if isinstance(m, int) else m for m in recipe.milestones
        ]
    return settings
