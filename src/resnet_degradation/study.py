"""Studies: which runs make a figure, running them, and what they say together."""

import csv
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from resnet_degradation.config import (
    Config,
    Settings,
    StudyRunConfig,
    net_name,
    run_folder,
    run_name,
    settle,
)
from resnet_degradation.errors import ConfigError, UserError
from resnet_degradation.runs import is_finished, read_summary, summarised_errors
from resnet_degradation.verdict import Comparison, compare, depth_verdict, shortcut_verdict

RESULT_COLUMNS = (
    "net",
    "depth",
    "residual",
    "shortcut",
    "seed",
    "num_parameters",
    "multiply_adds",
    "train_error",
    "held_out_error",
    "seconds",
)


@dataclass(frozen=True)
class Study:
    """A named set of settled runs, and the folder for what is drawn of them."""

    name: str
    title: str
    runs: list[Config]
    folder: Path


@dataclass(frozen=True)
class Result:
    """What one finished run came to; errors in percent."""

    config: Config
    folder: Path
    train_error: float
    held_out_error: float | None
    num_parameters: int
    multiply_adds: int
    seconds: float
    num_images: int  # on how many training images the training error was counted


def resolve_study(composed: DictConfig) -> Study:
    """The study that a composed configuration names: every net with every seed.

    Raises ConfigError for whatever cannot be run.
    """
    config = OmegaConf.to_object(composed)
    assert isinstance(config, StudyRunConfig)
    if not config.study.nets or not config.seeds:
        raise ConfigError("study.nets and seeds need at least one entry each")
    if Path(config.study.name).name != config.study.name:
        raise ConfigError(f"study.name={config.study.name} is no name for a folder")
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(Settings)}
    runs = []
    for seed in config.seeds:
        for net in config.study.nets:
            own: dict[str, Any] = {"depth": net.depth, "residual": net.residual, "seed": seed}
            if net.shortcut is not None:
                own["shortcut"] = net.shortcut
            runs.append(settle(Config(**(shared | own))))
    folders = [run_folder(run) for run in runs]
    if len(set(folders)) < len(folders):
        repeated = next(folder for folder in folders if folders.count(folder) > 1)
        raise ConfigError(f"study.nets or seeds name the same run twice: {repeated.name}")
    folder = Path(config.output_dir) / "studies" / config.study.name
    return Study(config.study.name, config.study.title, runs, folder)


def run_study(study: Study, console: Console) -> None:
    """Run what is not finished, then draw the figure and print the table and the verdict.

    A run that fails does not keep the others from running; UserError is raised at the end.
    """
    from resnet_degradation.train.progress import RunProgress

    progress = RunProgress(console)
    failures = []
    for number, config in enumerate(study.runs, 1):
        progress.say(f"[{number}/{len(study.runs)}]", end=" ")
        if is_finished(run_folder(config)):
            progress.say(f"{run_name(config)} is finished already")
            continue
        from resnet_degradation.train.loop import train  # torch, only if there is something to do

        try:
            train(config, progress)
        except UserError as error:
            failures.append(f"{run_name(config)}: {error}")
            progress.say(f"failed: {error}")
    finished = [config for config in study.runs if is_finished(run_folder(config))]
    if finished:
        report(dataclasses.replace(study, runs=finished), console)
    if failures:
        raise UserError(
            f"{len(failures)} of {len(study.runs)} runs failed, the figure is without them. "
            f"First: {failures[0]}"
        )


def report(study: Study, console: Console) -> None:
    """Write the figure, the table and the index of the runs into the study's folder; print them."""
    from resnet_degradation.figures.curves import load_curves, plot_curves, save_figure

    results = [read_result(config) for config in study.runs]
    study.folder.mkdir(parents=True, exist_ok=True)
    verdicts = find_verdicts(results)
    index = {
        "study": study.name,
        "title": study.title,
        "runs": [os.path.relpath(result.folder, study.folder) for result in results],
        "verdicts": verdicts,
    }
    (study.folder / "study.json").write_text(json.dumps(index, indent=2) + "\n")
    write_results(study.folder / "results.csv", results)
    figure = plot_curves(load_curves([result.folder for result in results]), study.title)
    files = save_figure(figure, study.folder / "curves")

    console.print()
    console.print(results_table(results))
    console.print("Verdict", style="bold")
    for verdict in verdicts:
        console.print(f"- {verdict}", highlight=False)
    if len({config.seed for config in study.runs}) == 1:
        console.print("- One seed; the spread over three: seeds=[0,1,2]", highlight=False)
    console.print()
    for what, where in (
        ("figure", ", ".join(str(file) for file in files)),
        ("table", str(study.folder / "results.csv")),
        ("runs", f"{results[0].folder.parent}/"),
        ("curves", f"tensorboard --logdir {results[0].config.output_dir}"),
    ):
        console.print(f"{what:>7}: {where}", highlight=False, soft_wrap=True)


def read_result(config: Config) -> Result:
    """What the finished run of this configuration came to, from its files."""
    folder = run_folder(config)
    summary = read_summary(folder)
    final = summarised_errors(summary)
    return Result(
        config=config,
        folder=folder,
        train_error=final.train_error,
        held_out_error=final.held_out_error(),
        num_parameters=summary["num_parameters"],
        multiply_adds=summary["multiply_adds"],
        seconds=summary["seconds"],
        num_images=final.num_train_images,
    )


def by_net(results: list[Result]) -> dict[str, list[Result]]:
    """The results of each net, over its seeds."""
    nets: dict[str, list[Result]] = {}
    for result in results:
        nets.setdefault(net_name(result.config), []).append(result)
    return nets


def find_verdicts(results: list[Result]) -> list[str]:
    """What the study says, for every kind of net (plain, or residual by one shortcut option).

    The deepest net against the shallowest of its kind, and the deepest residual net against the
    plain net of the same depth; each only where there are such nets, over the seeds of both.
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
        deepest = max(depths)
        if deepest in plain:
            comparison = _compared(plain[deepest], depths[deepest])
            cured = outcomes.get(None) == "worse" and outcomes.get(option) in ("alike", "better")
            if comparison is not None:
                verdicts.append(shortcut_verdict(comparison, cured))
    return verdicts


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


def results_table(results: list[Result]) -> Table:
    """Final errors of every net, mean and standard deviation over seeds."""
    table = Table(title="Final errors (%)")
    for column in ("net", "parameters", "training", "held out", "seeds", "seconds"):
        table.add_column(column, justify="left" if column == "net" else "right")
    for name, members in by_net(results).items():
        held_out = [r.held_out_error for r in members if r.held_out_error is not None]
        table.add_row(
            name,
            f"{members[0].num_parameters:,}",
            mean_and_spread([result.train_error for result in members]),
            mean_and_spread(held_out),
            str(len(members)),
            f"{sum(result.seconds for result in members):.0f}",
        )
    return table


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
            cells = {**vars(config), **vars(result), "net": net_name(config)}
            writer.writerow([cells[column] for column in RESULT_COLUMNS])
