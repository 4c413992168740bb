"""The report of an inspection: report.md, and index.html, which holds its pictures."""

import base64
import os
from pathlib import Path
from urllib.parse import quote

import jinja2

from resnet_degradation.inspection.probe import Finding
from resnet_degradation.system.atomic_files import atomic_write


def write_report(
    results: Path, iterations: dict[Path, int], found: dict[str, Finding], about: dict[str, str]
) -> None:
    """Write both files to `results`: sentence, figure, table and definition of each finding.

    iterations: those of each run, by its folder. about: the definition of each measurement.
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
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("resnet_degradation.inspection"),
        autoescape=jinja2.select_autoescape(["html.jinja"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in ("report.md", "index.html"):
        text = templates.get_template(f"{name}.jinja").render(
            found=found, about=about, runs=runs, pictures=pictures
        )
        with atomic_write(results / name) as stream:
            stream.write(text)
