"""The report of an inspection: report.md, and index.html, in which the pictures are embedded."""

import base64
import os
from pathlib import Path
from urllib.parse import quote

from resnet_degradation.inspection.probe import Finding
from resnet_degradation.system.templates import write_from_templates


def write_report(
    results: Path, iterations: dict[Path, int], found: dict[str, Finding], about: dict[str, str]
) -> None:
    """Write both files to `results`: sentence, figure, table and definition of each finding.

    iterations: how long each run was trained, by its folder. about: the definition of each
    measurement.
    """
    runs = []
    for folder, iteration in iterations.items():
        path = Path(os.path.relpath(folder, results)).as_posix()
        run = {"name": folder.name, "path": path, "url": quote(path)}
        runs.append(run | {"iterations": f"{iteration:,}"})
    pictures = {
        name: "data:image/png;base64,"
        + base64.b64encode((results / f"{name}.png").read_bytes()).decode()
        for name in found
    }
    content = {"found": found, "about": about, "runs": runs, "pictures": pictures}
    names = ["report.md", "index.html"]
    write_from_templates("resnet_degradation.inspection", results, names, content)
