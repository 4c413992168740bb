"""What finished runs came to, read from their files: per run, per net, and as verdicts."""

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from resnet_degradation.config import Config, data_name, net_name, run_folder
from resnet_degradation.runs import Response, read_responses, read_summary, summarised_errors
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
    train_error: float
    val_error: float | None
    test_error: float | None
    num_parameters: int
    multiply_adds: int
    iterations: int
    seconds: float
    num_images: int  # on how many training images the training error was counted
    mean_response: float  # over the 3x3 layers (figure 7)
    environment: dict[str, Any]  # versions, hardware, git revision

    @property
    def held_out_error(self) -> float | None:
        """The validation error, or the test error of data that has no validation set."""
        return self.val_error if self.val_error is not None else self.test_error


def read_result(config: Config) -> Result:
    """What the finished run of this configuration came to, from its files."""
    folder = run_folder(config)
    summary = read_summary(folder)
    final = summarised_errors(summary)
    return Result(
        config=config,
        folder=folder,
        train_error=final.train_error,
        val_error=final.val_error,
        test_error=final.test_error,
        num_parameters=summary["num_parameters"],
        multiply_adds=summary["multiply_adds"],
        iterations=summary["iterations"],
        seconds=summary["seconds"],
        num_images=final.num_train_images,
        mean_response=mean_response(read_responses(folder)),
        environment={key: summary[key] for key in ("versions", "hardware", "git_revision")},
    )


def mean_response(responses: list[Response]) -> float:
    """The mean over layers of the standard deviation of their responses."""
    return mean(response.std for response in responses)


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
            cells = {**vars(config), **vars(result), **own, "folder": result.folder.name}
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


def response_verdict(results: list[Result]) -> str:
    """The mean response of every net's 3x3 layers, in the order of the nets."""
    told = [
        f"{name} {mean_and_spread([result.mean_response for result in members])}"
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
        min(one.num_images, other.num_images),
    )
