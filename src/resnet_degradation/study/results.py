"""What finished runs came to, read from their files: per run, per net, and as verdicts."""

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from resnet_degradation.config import Config, data_name, net_name, run_folder, run_name
from resnet_degradation.runs import FinalErrors, read_responses, read_summary, summarised_errors
from resnet_degradation.study.verdict import (
    Comparison,
    compare,
    depth_verdict,
    option_verdict,
    shortcut_verdict,
)

RESULT_COLUMNS = (
    "net",
    "depth",
    "residual",
    "shortcut",
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
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(RESULT_COLUMNS)
        for result in results:
            config = result.config
            own = {"net": net_name(config), "data": data_name(config)}
            errors = result.errors.in_percent()
            cells = vars(config) | vars(result) | errors | own | {"folder": result.folder.name}
            writer.writerow([cells[column] for column in RESULT_COLUMNS])


def find_verdicts(results: list[Result]) -> list[str]:
    """What the runs say, for every kind of net (plain, or residual by one shortcut option).

    The deepest net against the shallowest of its kind, the deepest residual net against the plain
    net of the same depth, and options B and C against A; each only where there are such nets, over
    the seeds of both.
    """
    kinds: dict[str | None, dict[int, dict[int, Result]]] = {}  # option -> depth -> seed
    for result in results:
        config = result.config
        of_kind = kinds.setdefault(config.shortcut, {})
        of_kind.setdefault(config.depth, {})[config.seed] = result
    verdicts: list[str] = []
    outcomes: dict[str | None, str] = {}
    for option, depths in kinds.items():
        if len(depths) == 1:
            continue
        comparison = _compared(depths[min(depths)], depths[max(depths)])
        if comparison is not None:
            verdicts.append(depth_verdict(comparison))
            outcomes[option] = comparison.outcome
    plain = kinds.pop(None, {})
    for option, depths in kinds.items():
        if shared := depths.keys() & plain.keys():
            comparison = _compared(plain[max(shared)], depths[max(shared)])
            cured = outcomes.get(None) == "worse" and outcomes.get(option) in ("alike", "better")
            if comparison is not None:
                verdicts.append(shortcut_verdict(comparison, cured))
    for option in sorted(str(option) for option in kinds.keys() - {"A"}):
        if shared := kinds[option].keys() & kinds.get("A", {}).keys():
            comparison = _compared(kinds["A"][max(shared)], kinds[option][max(shared)])
            if comparison is not None:
                verdicts.append(option_verdict(comparison))
    return verdicts


def find_cautions(results: list[Result]) -> list[str]:
    """What keeps the verdicts from meaning what they seem to."""
    cautions = []
    if slow := [run_name(result.config) for result in results if result.still_warming_up]:
        cautions.append(
            f"{', '.join(slow)} ended while still warming up, at the smaller rate "
            "(recipe.warmup_lr): not comparable with the other nets; train for longer"
        )
    chance = max(100 * (1 - 1 / result.num_classes) for result in results)
    if all(result.train_error > 0.9 * chance for result in results):
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


def _compared(first: dict[int, Result], second: dict[int, Result]) -> Comparison | None:
    """Two nets over the seeds that both have; None if there is none."""
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
    )
