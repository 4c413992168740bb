"""Redraw the pictures of docs/why.md from the tables in outputs/reference/why.

python scripts/draw_why.py
"""

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from resnet_degradation.cli.compose import config_folder, register_schemas
from resnet_degradation.config.identity import group_by_net, net_name
from resnet_degradation.config.schema import Config
from resnet_degradation.figures.depths import Series, plot_depths
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.figures.style import save_figure
from resnet_degradation.inspection.registry import PROBES
from resnet_degradation.records.csv_tables import parse_row
from resnet_degradation.studies.definition import resolve_study

WHY = Path(__file__).parents[1] / "outputs/reference/why"


def main() -> None:
    configs = configs_of("quick-seeds")
    for name, probe in PROBES.items():
        nets = inspected(WHY / f"{name}.csv", probe.row, configs)
        finding = probe.finding(nets, name)
        print(finding.title)
        save_figure(probe.figure(nets, finding.title), WHY / name, ("png",))
    figure = plot_depths(depths(WHY / "depths.csv"), "Final training error against depth")
    save_figure(figure, WHY / "depths", ("png",))


def configs_of(study: str) -> list[Config]:
    """The runs of a study as `resnet-study` makes them."""
    register_schemas()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("study_config", overrides=[f"study={study}"])
        return resolve_study(composed, composed).runs


def read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def inspected(table: Path, row: type[Any], configs: list[Config]) -> list[NetRows]:
    """The rows of every run in this table, or of every net where it holds one seed."""
    by_run: dict[str, list[Any]] = defaultdict(list)
    for cells in read(table):
        run = cells.pop("run", None) or f"{cells.pop('net')}-seed0"
        by_run[run].append(parse_row(cells, row))
    runs = {f"{net_name(config)}-seed{config.seed}": config for config in configs}
    nets = group_by_net((runs[run], rows) for run, rows in by_run.items())
    return [NetRows(name, config, [*seeds]) for name, config, seeds in nets]


def depths(table: Path) -> list[Series]:
    """The two series of the study `depths`."""
    errors: dict[str, list[float]] = defaultdict(list)
    for cells in read(table):
        errors[cells["net"]].append(float(cells["train_error"]))
    series = []
    for name, residual in (("plain nets", False), ("residual nets", True)):
        nets = {net_name(c): c for c in configs_of("depths") if c.residual == residual}
        series.append(Series(name, [*nets.values()], [np.array(errors[net]) for net in nets]))
    return series


if __name__ == "__main__":
    main()
