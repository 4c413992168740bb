"""What finished runs came to, read from their files: per run, per net, and as verdicts."""

import csv
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple, cast

from resnet_degradation.config.architectures import IMAGENET_DEPTHS, Family, architecture
from resnet_degradation.config.identity import data_name, net_name, run_folder, shallow_config
from resnet_degradation.config.naming import (
    differing_settings,
    distinct_names,
    distinct_run_names,
    group_by_net,
    setting,
    values_of,
)
from resnet_degradation.config.schema import Config, NetConfig
from resnet_degradation.records.layers import read_responses
from resnet_degradation.records.run_folder import num_skipped_images, read_extension
from resnet_degradation.records.summary import FinalErrors, read_summary, summarised_errors
from resnet_degradation.studies.verdict import (
    Comparison,
    compare,
    constructed_verdict,
    depth_verdict,
    extended_verdict,
    pooled_spread,
    shortcut_verdict,
    twin_verdict,
)
from resnet_degradation.system.atomic_files import atomic_write

# In what the nets of a study may differ; what else differs follows from these.
OF_A_NET = (*(field.name for field in fields(NetConfig)), "bottleneck_stride")
RESULT_COLUMNS = (
    "net",
    "depth",
    "residual",
    "shortcut",
    "width",
    "block",
    "extends",
    "seed",
    "data",
    "iterations",
    "num_parameters",
    "multiply_adds",
    "train_error",
    "val_error",
    "test_error",
    "mean_response",
    "seconds",
    "folder",
)


@dataclass(frozen=True)
class Result:
    """What one finished run came to; errors in percent, multiply-adds of one image."""

    config: Config
    folder: Path
    errors: FinalErrors
    num_parameters: int
    multiply_adds: int
    iterations: int
    seconds: float
    num_classes: int
    still_warming_up: bool  # at the end of the run, at the smaller rate
    mean_response: float | None  # over the 3x3 layers (figure 7), where it was recorded
    environment: dict[str, Any]  # versions, hardware, git revision
    num_skipped_images: int = 0  # which could not be read

    @property
    def train_error(self) -> float:
        """The final training error."""
        return self.errors.train_error

    @property
    def held_out_error(self) -> float | None:
        """The final validation error, or test error of data that has no validation set."""
        return self.errors.held_out_error()


@dataclass(frozen=True)
class Net:
    """One net of a study over its seeds, under a name that no other net of the study has."""

    name: str
    seeds: dict[int, Result]

    @property
    def results(self) -> list[Result]:
        """Those of its seeds."""
        return [*self.seeds.values()]

    @property
    def config(self) -> Config:
        """The configuration of its first seed."""
        return self.results[0].config


class Kind(NamedTuple):
    """What nets have in common that are compared over depth."""

    shortcut: str | None  # the option; None for plain nets
    shortcut_padding: str  # of option A
    width: float
    block: str  # basic, bottleneck, or a custom one as module:attribute
    family: str


Kinds = dict[Kind, dict[int, Net]]  # kind -> depth


def read_result(config: Config) -> Result:
    """What the finished run of this configuration came to, from its files."""
    folder = run_folder(config)
    summary = read_summary(folder)
    return Result(
        config=config,
        folder=folder,
        errors=summarised_errors(summary),
        num_parameters=summary["num_parameters"],
        multiply_adds=summary["multiply_adds"],
        iterations=summary["iterations"],
        seconds=summary["seconds"],
        num_classes=summary["num_classes"],
        still_warming_up=summary["still_warming_up"],
        mean_response=mean_response(folder),
        environment={key: summary[key] for key in ("versions", "hardware", "git_revision")},
        num_skipped_images=num_skipped_images(folder),
    )


def mean_response(folder: Path) -> float | None:
    """The mean over layers of the standard deviation of their responses; None if not recorded."""
    if not (folder / "responses.csv").is_file():
        return None
    return mean(response.std for response in read_responses(folder))


def by_net(results: list[Result]) -> list[Net]:
    """The nets of these runs, each with its seeds."""
    return [
        Net(name, {result.config.seed: result for result in of_net})
        for name, _, of_net in group_by_net((result.config, result) for result in results)
    ]


def mean_and_spread(values: list[float]) -> str:
    """Mean of the values, with their standard deviation where there are several."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def write_results(file: Path, results: list[Result]) -> None:
    """One row a run, for people who draw their own."""
    names = distinct_names([result.config for result in results])
    with atomic_write(file) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(RESULT_COLUMNS)
        for name, result in zip(names, results, strict=True):
            config = result.config
            own = {"net": name, "data": data_name(config)}
            errors = result.errors.in_percent()
            cells = vars(config) | vars(result) | errors | own | {"folder": result.folder.name}
            writer.writerow([cells[column] for column in RESULT_COLUMNS])


def find_verdicts(results: list[Result]) -> list[str]:
    """What the runs say of every kind of net: plain or by a shortcut option, of a width and block.

    The deepest net against the shallowest of its kind, the deepest residual net against the plain
    net of the same depth, and each kind against its twin by option A, or of basic blocks; only
    where there are such nets, over the seeds of both. At last, nets that began with another's
    solution against those that did not.
    """
    nets = by_net(results)
    kinds: Kinds = {}
    for net in nets:
        if net.config.extends is None:
            kinds.setdefault(_kind(net.config), {})[net.config.depth] = net
    verdicts: list[str] = []
    outcomes: dict[Kind, str] = {}
    for kind, depths in kinds.items():
        if len(depths) == 1:
            continue
        comparison = _compared(depths[min(depths)], depths[max(depths)], kinds)
        if comparison is not None:
            verdicts.append(depth_verdict(comparison))
            outcomes[kind] = comparison.outcome
    residual = {kind: depths for kind, depths in kinds.items() if kind.shortcut is not None}
    for kind, depths in residual.items():
        plain_kind = kind._replace(shortcut=None, shortcut_padding="behind")
        plain = kinds.get(plain_kind, {})
        if shared := depths.keys() & plain.keys():
            comparison = _compared(plain[max(shared)], depths[max(shared)], kinds)
            degraded = outcomes.get(plain_kind) == "worse"
            cured = degraded and outcomes.get(kind) in ("alike", "better")
            if comparison is not None:
                verdicts.append(shortcut_verdict(comparison, cured))
    verdicts += _twin_verdicts(kinds)
    for net in nets:
        if net.config.extends is not None:
            verdicts += _extension_verdicts(net, kinds)
    return verdicts


def _kind(config: Config) -> Kind:
    family = cast(Family, config.family)
    block = config.block or architecture(config.depth, family).block
    padding = str(config.shortcut_padding)
    return Kind(config.shortcut, padding, config.width, block, family)


def _twin_verdicts(kinds: Kinds) -> list[str]:
    """What options B and C come to beside A, and other blocks beside as many basic ones."""
    verdicts = []
    for kind, depths in sorted(kinds.items(), key=str):
        twins: list[tuple[Kind, str]] = []
        if kind.shortcut not in (None, "A"):
            twins.append((kind._replace(shortcut="A"), "option A"))
        if kind.shortcut_padding != "behind":
            twins.append((kind._replace(shortcut_padding="behind"), "shortcut_padding=behind"))
        if kind.block != "basic":
            basic = kind._replace(block="basic")
            twins.append((basic if basic in kinds else basic._replace(width=1.0), "basic blocks"))
        for twin, name in twins:
            of_twin = kinds.get(twin, {})
            pairs = [
                (other, depth) for depth in depths for other in of_twin if _alike(other, depth)
            ]
            if pairs:
                other, depth = max(pairs)
                if (comparison := _compared(of_twin[other], depths[depth], kinds)) is not None:
                    verdicts.append(twin_verdict(comparison, name))
    return verdicts


def _alike(depth: int, other: int) -> bool:
    """Whether nets of these depths stack as many blocks: they are equal, or 34 and 50 (Table 1)."""
    return (
        depth == other
        or IMAGENET_DEPTHS.get(depth, (0, 0))[1] == IMAGENET_DEPTHS.get(other, (0, 1))[1]
    )


def _extension_verdicts(extended: Net, kinds: Kinds) -> list[str]:
    """What a net that began with a shallower one's solution says, and what it then came to."""
    config = extended.config
    first = min(extended.seeds)
    verdicts = []
    if (facts := read_extension(extended.seeds[first].folder)) is not None:
        verdicts.append(constructed_verdict(facts, first))
    from_scratch = kinds.get(_kind(config), {}).get(config.depth)
    if from_scratch and (comparison := _compared(from_scratch, extended, kinds)) is not None:
        verdicts.append(extended_verdict(comparison))
    return verdicts


def find_cautions(results: list[Result]) -> list[str]:
    """What keeps the verdicts from meaning what they seem to."""
    nets = by_net(results)
    cautions = [_extension_caution(net, nets) for net in nets if net.config.extends is not None]
    cautions += _other_differences(nets)
    names = distinct_run_names([result.config for result in results])
    slow = [n for n, result in zip(names, results, strict=True) if result.still_warming_up]
    if slow:
        cautions.append(
            f"{', '.join(slow)} ended while still warming up, at the smaller rate "
            "(recipe.warmup_lr): not comparable with the other nets; train for longer"
        )
    chance = max(100 * (1 - 1 / result.num_classes) for result in results)
    near = [n for n, r in zip(names, results, strict=True) if r.train_error > 0.9 * chance]
    if 0 < len(near) < len(results):
        cautions.append(
            f"{', '.join(near)} ended near chance ({chance:.1f} %): hardly begun to train, which "
            "a longer run may change"
        )
    if len(near) == len(results):
        cautions.append(
            f"every training error is near chance ({chance:.1f} %): the runs are too short, or "
            "the rate is wrong, to tell nets apart"
        )
    return cautions


def _extension_caution(extended: Net, nets: list[Net]) -> str:
    shallow = shallow_config(extended.config)
    caution = (
        f"{extended.name} began with the solution of {net_name(shallow)}: its iterations come on "
        "top of those of that net"
    )
    for net in nets:
        differing = [k for k in differing_settings([shallow, net.config]) if k != "seed"]
        if net_name(net.config) == net_name(shallow) and differing:
            values = " and ".join(f"{key}={setting(shallow, key)}" for key in differing)
            caution += f", which was trained with {values}, unlike {net.name} in this study"
    return caution


def _other_differences(nets: list[Net]) -> list[str]:
    """In what the nets differ besides architecture: what follows from depth, as a warm-up does."""
    configs, names = [net.config for net in nets], [net.name for net in nets]
    return [
        values_of(key, [setting(config, key) for config in configs], names)
        + ": a difference between these nets need not come from their architecture"
        for key in differing_settings(configs)
        if key not in (*OF_A_NET, "seed")
    ]


def response_verdict(results: list[Result]) -> str:
    """The mean response of every net's 3x3 layers, in the order of the nets."""
    means = []
    for net in by_net(results):
        responses = [r.mean_response for r in net.results if r.mean_response is not None]
        means.append(f"{net.name} {mean_and_spread(responses)}")
    return f"standard deviation of layer responses, mean over layers: {', '.join(means)}"


def _compared(first: Net, second: Net, kinds: Kinds) -> Comparison | None:
    """Two nets over the seeds that both have; None if there is none. kinds: all of the study."""
    seeds = sorted(first.seeds.keys() & second.seeds.keys())
    if not seeds:
        return None
    one, other = first.seeds[seeds[0]], second.seeds[seeds[0]]
    return compare(
        first.name,
        second.name,
        [first.seeds[seed].train_error for seed in seeds],
        [second.seeds[seed].train_error for seed in seeds],
        min(one.errors.num_train_images, other.errors.num_train_images),
        pooled_spread(
            [result.train_error for result in net.results]
            for depths in kinds.values()
            for net in depths.values()
        ),
    )
