"""Reports from jinja templates."""

from pathlib import Path
from typing import Any

import jinja2

from resnet_degradation.system.atomic_files import atomic_write


def write_from_templates(
    package: str, folder: Path, names: list[str], content: dict[str, Any]
) -> None:
    """Write the files `names` to `folder`, each from NAME.jinja in the package's templates/.

    HTML is escaped. Raises jinja2's UndefinedError if a template uses a name missing in `content`.
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
