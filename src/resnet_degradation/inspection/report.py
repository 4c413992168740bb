"""Writes the report of an inspection: report.md, and index.html with embedded figures."""

import base64
import os
from pathlib import Path
from urllib.parse import quote

from resnet_degradation.inspection.probe import Finding
from resnet_degradation.system.templates import write_from_templates


def write_report(
    report_folder: Path,
    iterations: dict[Path, int],
    findings: dict[str, Finding],
    definitions: dict[str, str],
) -> None:
    """Write both files: the sentence, figure, table and definition of each finding.

    iterations: for how many iterations each run was trained, keyed by run folder.
    definitions: the definition of each measurement.
    """
    runs = []
    for folder, iteration in iterations.items():
        path = Path(os.path.relpath(folder, report_folder)).as_posix()
        run = {"name": folder.name, "path": path, "url": quote(path)}
        runs.append(run | {"iterations": f"{iteration:,}"})
    pictures = {
        name: "data:image/png;base64,"
        + base64.b64encode((report_folder / f"{name}.png").read_bytes()).decode()
        for name in findings
    }
    content = {
        "findings": findings,
        "definitions": definitions,
        "runs": runs,
        "pictures": pictures,
    }
    names = ["report.md", "index.html"]
    write_from_templates("resnet_degradation.inspection", report_folder, names, content)
