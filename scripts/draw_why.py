"""Redraw the pictures of docs/why.md, and report.md, from the tables in outputs/reference/why.

python scripts/draw_why.py
"""

import csv
import json
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from resnet_degradation.cli.compose import config_folder, register_schemas
from resnet_degradation.config.identity import group_by_net, net_name
from resnet_degradation.config.schema import Config
from resnet_degradation.figures.curves import NetCurves, load_curves, plot_curves
from resnet_degradation.figures.depths import plot_depths
from resnet_degradation.figures.seeds import NetRows, Series
from resnet_degradation.figures.style import save_figure
from resnet_degradation.inspection.registry import PROBES
from resnet_degradation.records.csv_tables import parse_row
from resnet_degradation.studies.definition import Study, resolve_study
from resnet_degradation.system.templates import write_from_templates

WHY = Path(__file__).parents[1] / "outputs/reference/why"


def main() -> None:
    findings = {}
    for name, probe in PROBES.items():
        nets = read_inspected_nets(name)
        findings[name] = probe.make_finding(nets, name)
        save_figure(probe.make_figure(nets, findings[name].title), WHY / name, ("png",))
    definitions = {name: probe.about for name, probe in PROBES.items()}
    content = {"findings": findings, "definitions": definitions, "runs": []}
    write_from_templates("resnet_degradation.inspection", WHY, ["report.md"], content)
    figure = plot_depths(read_depth_series(), load_study("depths").drawing)
    save_figure(figure, WHY / "depths", ("png",))
    figure = plot_curves(load_constructed_curves(), load_study("constructed").drawing)
    save_figure(figure, WHY / "constructed", ("png",))


def load_study(name: str, *overrides: str) -> Study:
    """Load a study as `resnet-study` does."""
    register_schemas()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("study_config", overrides=[f"study={name}", *overrides])
        return resolve_study(composed, composed)


def read_table(table: str) -> list[dict[str, str]]:
    with (WHY / f"{table}.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def file_stem(config: Config) -> str:
    return f"{net_name(config)}-seed{config.seed}"


def read_inspected_nets(table: str) -> list[NetRows]:
    """Read the rows of every run in a table, or of every net if the table has only one seed."""
    by_run: dict[str, list[Any]] = defaultdict(list)
    for cells in read_table(table):
        run = cells.pop("run", None) or f"{cells.pop('net')}-seed0"
        by_run[run].append(parse_row(cells, PROBES[table].row))
    configs = {file_stem(config): config for config in load_study("quick-seeds").runs}
    nets = group_by_net((configs[run], rows) for run, rows in by_run.items())
    return [NetRows(name, config, [*seeds]) for name, config, seeds in nets]


def read_depth_series() -> list[Series]:
    """Read the two series of the study `depths`."""
    errors: dict[str, list[float]] = defaultdict(list)
    for cells in read_table("depths"):
        errors[cells["net"]].append(float(cells["train_error"]))
    runs = load_study("depths").runs
    series = []
    for name, residual in (("plain nets", False), ("residual nets", True)):
        nets = {net_name(config): config for config in runs if config.residual == residual}
        series.append(Series(name, [*nets.values()], [np.array(errors[net]) for net in nets]))
    return series


def load_constructed_curves() -> list[NetCurves]:
    """Load the curves of the study `constructed` from run folders rebuilt from committed files."""
    final_errors = {
        (cells["net"], cells["seed"]): float(cells["val_error"])
        for cells in read_table("constructed")
    }
    with tempfile.TemporaryDirectory() as scratch:
        folders = []
        for config in load_study("constructed", "seeds=[0,1,2]").runs:
            folder = Path(scratch) / file_stem(config)
            folder.mkdir()
            folders.append(folder)
            OmegaConf.save(OmegaConf.structured(config), folder / "config.yaml")
            shutil.copy(WHY / "metrics" / f"{file_stem(config)}.csv", folder / "metrics.csv")
            (folder / "summary.json").touch()  # marks the run as finished
            if config.extends is not None:
                # The deep net starts with the errors of the shallow net. Training errors were kept
                # only for seed 0.
                held_out = {"val": final_errors[f"plain-{config.extends}", str(config.seed)]}
                deep = {"train_error": None, "held_out_errors": held_out}
                (folder / "extension.json").write_text(json.dumps({"deep": deep}), "utf-8")
        return load_curves(folders)


if __name__ == "__main__":
    main()
