"""`resnet-inspect`, called as a function."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.console.progress import NullProgress
from resnet_degradation.inspection.command import inspect


def run_inspection(*folders: Path, output_dir: Path, **options: Any) -> Path:
    asked = InspectionConfig(run=[str(folder) for folder in folders], output_dir=str(output_dir))
    folder, *_ = inspect(replace(asked, **options), Console(quiet=True), NullProgress())
    return folder
