"""What finished runs came to, read from their files: per run, per net, and as verdicts."""

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, cast

from resnet_degradation.config import Config, data_name, net_name, run_folder, run_name
from resnet_degradation.families import IMAGENET_DEPTHS, Family, architecture
from resnet_degradation.files import replaced
from resnet_degradation.runs import (
    FinalErrors,
    read_extension,
    read_responses,
    read_summary,
    summarised_errors,
)
from resnet_degradation.study.verdict import (
    Comparison,
    compare,
    constructed_verdict,
    depth_verdict,
    extended_verdict,
    pooled_spread,
    shortcut_verdict,
    twin_verdict,
)

# Shortcut option, or None for plain nets; width; and block: basic, bottleneck, or the user's own.
Kind = tuple[str | None, float, str]

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

    @property
    def train_error(self) -> float:
        """The final training error."""
        return self.errors.train_error

    @property
    def held_out_error(self) -> float | None:
        """The final validation error, or test error of data that has no validation set."""
        return self.errors.held_out_error()


Kinds = dict[Kind, dict[int, dict[int, Result]]]  # kind -> depth -> seed


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
    )


def mean_response(folder: Path) -> float | None:
    """The mean over layers of the standard deviation of their responses; None if not recorded."""
    if not (folder / "responses.csv").is_file():
        return None
    return mean(response.std for response in read_responses(folder))


def by_net(results: list[Result]) -> dict[str, list[Result]]:
    """The results of each net, over its seeds."""
    nets: dict[str, list[Result]] = {}
    for result in results:
        nets.setdefault(net_name(result.config), []).append(result)
    return nets


def mean_and_spread(values: list[float]) -> str:
    """Mean of the values, with their standard deviation where there are several."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def write_results(file: Path, results: list[Result]) -> None:
    """One row a run, for people who draw their own."""
    with replaced(file) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(RESULT_COLUMNS)
        for result in results:
            config = result.config
            own = {"net": net_name(config), "data": data_name(config)}
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
    kinds: Kinds = {}
    extended: dict[str, dict[int, Result]] = {}  # net -> seed
    for result in results:
        config = result.config
        if config.extends is not None:
            extended.setdefault(net_name(config), {})[config.seed] = result
            continue
        of_kind = kinds.setdefault(_kind(config), {})
        of_kind.setdefault(config.depth, {})[config.seed] = result
    verdicts: list[str] = []
    outcomes: dict[Kind, str] = {}
    for kind, depths in kinds.items():
        if len(depths) == 1:
            continue
        comparison = _compared(depths[min(depths)], depths[max(depths)], kinds)
        if comparison is not None:
            verdicts.append(depth_verdict(comparison))
            outcomes[kind] = comparison.outcome
    residual = {kind: depths for kind, depths in kinds.items() if kind[0] is not None}
    for kind, depths in residual.items():
        plain_kind = (None, *kind[1:])
        plain = kinds.get(plain_kind, {})
        if shared := depths.keys() & plain.keys():
            comparison = _compared(plain[max(shared)], depths[max(shared)], kinds)
            degraded = outcomes.get(plain_kind) == "worse"
            cured = degraded and outcomes.get(kind) in ("alike", "better")
            if comparison is not None:
                verdicts.append(shortcut_verdict(comparison, cured))
    verdicts += _twin_verdicts(kinds)
    for seeds in extended.values():
        verdicts += _extension_verdicts(seeds, kinds)
    return verdicts


def _kind(config: Config) -> Kind:
    block = config.block or architecture(config.depth, cast(Family, config.family)).block
    return config.shortcut, config.width, block


def _twin_verdicts(kinds: Kinds) -> list[str]:
    """What options B and C come to beside A, and other blocks beside as many basic ones."""
    verdicts = []
    for (option, width, block), depths in sorted(kinds.items(), key=str):
        twins: list[tuple[Kind, str]] = []
        if option not in (None, "A"):
            twins.append((("A", width, block), "option A"))
        if block != "basic":
            of_width = next((w for w in (width, 1.0) if (option, w, "basic") in kinds), width)
            twins.append(((option, of_width, "basic"), "basic blocks"))
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


def _extension_verdicts(extended: dict[int, Result], kinds: Kinds) -> list[str]:
    """What a net that began with a shallower one's solution says, and what it then came to."""
    first = min(extended)
    config = extended[first].config
    verdicts = []
    if (facts := read_extension(extended[first].folder)) is not None:
        verdicts.append(constructed_verdict(facts, first))
    from_scratch = kinds.get(_kind(config), {}).get(config.depth, {})
    if (comparison := _compared(from_scratch, extended, kinds)) is not None:
        verdicts.append(extended_verdict(comparison))
    return verdicts


def find_cautions(results: list[Result]) -> list[str]:
    """What keeps the verdicts from meaning what they seem to."""
    cautions = [
        f"{name} began with the solution of plain-{of[0].config.extends}: its iterations come on "
        "top of those of that net"
        for name, of in by_net(results).items()
        if of[0].config.extends is not None
    ]
    if slow := [run_name(result.config) for result in results if result.still_warming_up]:
        cautions.append(
            f"{', '.join(slow)} ended while still warming up, at the smaller rate "
            "(recipe.warmup_lr): not comparable with the other nets; train for longer"
        )
    chance = max(100 * (1 - 1 / result.num_classes) for result in results)
    near = [run_name(result.config) for result in results if result.train_error > 0.9 * chance]
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


def response_verdict(results: list[Result]) -> str:
    """The mean response of every net's 3x3 layers, in the order of the nets."""
    told = [
        f"{name} "
        + mean_and_spread([r.mean_response for r in members if r.mean_response is not None])
        for name, members in by_net(results).items()
    ]
    return f"standard deviation of layer responses, mean over layers: {', '.join(told)}"


def _compared(
    first: dict[int, Result], second: dict[int, Result], kinds: Kinds
) -> Comparison | None:
    """Two nets over the seeds that both have; None if there is none. kinds: all of the study."""
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    one, other = first[seeds[0]], second[seeds[0]]
    return compare(
        net_name(one.config),
        net_name(other.config),
        [first[seed].train_error for seed in seeds],
        [second[seed].train_error for seed in seeds],
        min(one.errors.num_train_images, other.errors.num_train_images),
        pooled_spread(
            [result.train_error for result in of_net.values()]
            for depths in kinds.values()
            for of_net in depths.values()
        ),
    )
