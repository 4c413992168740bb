"""What all benchmarks write: numbers with the conditions they were measured under, and a table."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from resnet_degradation.training.describe import describe_environment


def conditions(command: str) -> dict[str, Any]:
    """The command, versions and hardware, and how busy the machine is before the measurement."""
    load = [round(average, 2) for average in os.getloadavg()]
    described = describe_environment(torch.device("cpu")) | {"load_average": load}
    return {"command": command, "environment": described}


def markdown(table: list[list[str]]) -> str:
    """The table, its header first, as docs/speed.md shows it."""
    rule = ["---"] * len(table[0])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (table[0], rule, *table[1:]))


def write_results(folder: Path, name: str, results: dict[str, Any], table: list[list[str]]) -> None:
    """Write NAME.json, and the table as NAME.md, and print it."""
    text = markdown(table)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    (folder / f"{name}.md").write_text(text, "utf-8")
    print(f"{text}written: {folder}/{name}.json, {name}.md", flush=True)
