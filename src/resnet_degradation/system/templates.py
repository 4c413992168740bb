"""Writes reports from jinja templates."""

from pathlib import Path
from typing import Any

import jinja2

from resnet_degradation.system.atomic_files import atomic_write


def write_from_templates(
    package: str, folder: Path, names: list[str], content: dict[str, Any]
) -> None:
    """Write each file in `names` to `folder`, from NAME.jinja in templates/ of the package.

    HTML is escaped. Raises jinja2's UndefinedError if a name in a template is missing in `content`.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=jinja2.select_autoescape(["html.jinja"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in names:
        with atomic_write(folder / name) as stream:
            stream.write(templates.get_template(f"{name}.jinja").render(content))
