"""Writes the results of a benchmark: numbers, the conditions of the measurement, and a table."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from resnet_degradation.training.describe import describe_environment


def describe_conditions(command: str) -> dict[str, Any]:
    """Return the command, versions, hardware, and the load before the measurement."""
    load = [round(average, 2) for average in os.getloadavg()]
    described = describe_environment(torch.device("cpu")) | {"load_average": load}
    return {"command": command, "environment": described}


def markdown(table: list[list[str]]) -> str:
    """Format a table, header first, as in docs/speed.md."""
    separator = ["---"] * len(table[0])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (table[0], separator, *table[1:]))


def write_results(folder: Path, name: str, results: dict[str, Any], table: list[list[str]]) -> None:
    """Write NAME.json, and write the table to NAME.md and print it."""
    text = markdown(table)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    (folder / f"{name}.md").write_text(text, "utf-8")
    print(f"{text}written: {folder}/{name}.json, {name}.md", flush=True)
