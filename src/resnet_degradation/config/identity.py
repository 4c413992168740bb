"""The schema of the configuration, its cross-field rules, and the identity of a run.

The YAML files in `conf/` are merged into these dataclasses by Hydra, so an unknown key or a
wrong type fails while the command line is read. `resolve` then checks what no single field can
tell and settles what was left open, before anything is built. Nothing here imports torch.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from resnet_degradation.config.architectures import Family, architecture, default_shortcut
from resnet_degradation.config.custom_code import attribute_of
from resnet_degradation.config.schema import USER_DATA, Config, RecipeConfig
from resnet_degradation.system.encoding import as_text
from resnet_degradation.system.errors import ConfigError


def file_digest(file: Path) -> str:
    """16 hexadecimal digits that name a file's content; raises ConfigError if there is none."""
    content = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while part := stream.read(1 << 20):
                content.update(part)
    except OSError as error:
        raise ConfigError(f"weights={file} cannot be read ({error.strerror})") from error
    return content.hexdigest()[:16]


def identity(config: Config) -> dict[str, Any]:
    """Every setting that a run's results are to depend on (RuntimeConfig says what else does).

    Devices, workers and intervals of logging do not belong to it. A setting at the schema's
    default is left out, so that a later version can add one without renaming earlier runs.
    """
    kept = dataclasses.asdict(config)
    runtime, _ = kept.pop("runtime"), kept.pop("output_dir")
    kept["runtime"] = {"precision": runtime["precision"]}
    # on_error: a run that there would be no other way is told by its images, which it checks.
    for key in ("families", "download", "on_error"):
        kept["data"].pop(key)
    if config.data.name not in USER_DATA and config.data.loader is None:
        kept["data"].pop("root")  # the same checksummed images, wherever they are
    kept.pop("weights")  # their digest tells which they are, wherever they are
    if architecture(config.depth, cast(Family, config.family)).block == "basic":
        kept.pop("bottleneck_stride")
    for key in _without_effect(config.recipe):
        kept["recipe"].pop(key)
    return _changed(kept, dataclasses.asdict(Config()))


def _without_effect(recipe: RecipeConfig) -> Iterator[str]:
    """The keys of the recipe that its other keys put out of use."""
    if recipe.schedule == "plateau":
        yield "milestones"
    else:
        yield from ("plateau_every", "plateau_patience", "plateau_threshold")
    if recipe.warmup == "never":
        yield from ("warmup_lr", "warmup_until", "warmup_window")
    if recipe.augmentation != "pad-crop":
        yield "pad"
    if recipe.augmentation == "none":
        yield "mirror"


def identity_settings(config: Config) -> dict[str, Any]:
    """The settings in the identity by their dotted keys."""
    return dotted(identity(config))


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _changed(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            changed[key] = _changed(value, defaults[key])
        elif value != defaults[key]:
            changed[key] = value
    return changed


def literal(value: Any) -> Any:
    """A text, or nested ones, as OmegaConf has to be given them to find no interpolation there."""
    if isinstance(value, dict):
        return {key: literal(each) for key, each in value.items()}
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: rf"{2 * found[1]}\${{", value)
    return value


def digest(config: Config) -> str:
    """Eight hexadecimal digits that name the identity of a settled configuration."""
    return short_hash(json.dumps(identity(config), sort_keys=True))


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that name a text."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()


def net_name(config: Config) -> str:
    """The net as the paper writes it: plain-34, ResNet-56, ResNet-34-B."""
    if not config.residual:
        name = f"plain-{config.depth}"
    else:
        name = f"ResNet-{config.depth}"
        if config.shortcut != default_shortcut(config.depth, cast(Family, config.family)):
            name += f"-{config.shortcut}"
        if config.shortcut_padding == "around":
            name += "-around"
    if config.width != 1:
        name += f"-width{config.width:g}"
    if config.block is not None:
        name += f"-{attribute_of(config.block)}"
    return name if config.extends is None else f"{name}-from-{config.extends}"


def shallow_config(config: Config) -> Config:
    """The run whose solution a run with `extends` begins with."""
    assert config.extends is not None
    return dataclasses.replace(config, depth=config.extends, extends=None)


def run_name(config: Config) -> str:
    """The net and the seed, for people."""
    return f"{net_name(config)} seed {config.seed}"


def data_name(config: Config) -> str:
    """The data for people: the data set, or the folder where the images are the user's own."""
    own = config.data.name in USER_DATA and config.data.root is not None
    return (as_text(Path(str(config.data.root)).name) if own else "") or config.data.name


def run_folder(config: Config) -> Path:
    """Where a settled configuration's run lives: the same command, the same folder."""
    name = f"{net_name(config)}-seed{config.seed}-{digest(config)}"
    return Path(config.output_dir) / data_name(config) / name
