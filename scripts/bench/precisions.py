"""Compares training steps in fp32 and in bf16: `make bench ARGS=--precisions`.

These variants take turns: the textbook loop in fp32, and, in both precisions, the trainer and only
the convolutions of its step.
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from compare import paired_ratio, time_interleaved
from results import describe_conditions, write_results
from steps import CIFAR, convolution_steps, separate_textbook_steps, trainer_steps

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.config.identity import net_name
from resnet_degradation.training.build import prepare
from resnet_degradation.training.torch_settings import AUTOCAST_DTYPES

PRECISIONS = ("fp32", "bf16")


def measure_net(depth: int, rounds: int) -> list[dict[str, Any]]:
    """Measure a row for each precision: milliseconds of a step, and median ratios over turns."""
    net = (f"depth={depth}", *CIFAR)
    config = compose_config(*net)
    variants: dict[str, Iterator[None]] = {"textbook": separate_textbook_steps(net)}
    for precision in PRECISIONS:
        run = prepare(compose_config(*net, f"runtime.precision={precision}"))
        batch, _ = next(run.batches.training(0, 1))
        variants[f"{precision} trainer"] = trainer_steps(run)
        variants[f"{precision} convolutions"] = convolution_steps(
            run.net, batch, AUTOCAST_DTYPES.get(precision)
        )
    times = time_interleaved(variants, rounds)
    return [
        {"net": net_name(config), "precision": precision} | _row(times, precision)
        for precision in PRECISIONS
    ]


def _row(times: dict[str, list[float]], precision: str) -> dict[str, float]:
    trainer, convolutions = times[f"{precision} trainer"], times[f"{precision} convolutions"]

    def milliseconds(taken: list[float]) -> float:
        return round(1000 * median(taken), 1)

    return {
        "textbook_ms": milliseconds(times["textbook"]),
        "trainer_ms": milliseconds(trainer),
        "convolutions_ms": milliseconds(convolutions),
        "trainer_to_textbook": paired_ratio(trainer, times["textbook"]),
        "trainer_to_convolutions": paired_ratio(trainer, convolutions),
        "trainer_to_fp32": paired_ratio(trainer, times["fp32 trainer"]),
    }


def table(results: dict[str, Any]) -> list[list[str]]:
    """Make one row for each net and precision; header first."""
    rows = [
        [
            *("net", "precision", "textbook loop, fp32", "here", "here / textbook"),
            *("convolutions alone", "here / convolutions", "here / fp32"),
        ]
    ]
    for step in results["steps"]:
        rows.append(
            [
                *(step["net"], step["precision"], f"{step['textbook_ms']:.0f} ms"),
                *(f"{step['trainer_ms']:.0f} ms", f"{step['trainer_to_textbook']:.2f}"),
                *(f"{step['convolutions_ms']:.0f} ms", f"{step['trainer_to_convolutions']:.2f}"),
                f"{step['trainer_to_fp32']:.2f}",
            ]
        )
    return rows


def measure_precisions(folder: Path, short: bool, command: str) -> None:
    """Measure, print the table, and write precisions.json and precisions.md."""
    rounds, depths = (2, (20,)) if short else (9, (20, 56))
    results: dict[str, Any] = {**describe_conditions(command), "rounds": rounds, "steps": []}
    for depth in depths:
        print(f"timing depth {depth}", flush=True)
        results["steps"] += measure_net(depth, rounds)
    write_results(folder, "precisions", results, table(results))
