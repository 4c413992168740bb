"""Settings of figures of curves, which study.json also records."""

import dataclasses
import json
import math
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from resnet_degradation.config.schema import ERROR_CHOICES, Config, PanelConfig, StudyConfig
from resnet_degradation.system.errors import ConfigError, UserError

# Columns of metrics.csv that can be on the x axis.
X_COLUMNS = ("iteration", "epoch", "seconds")

WIDTHS = {"column": 3.3, "text": 6.8}  # of usual papers, in inches


@dataclass(frozen=True)
class Drawing:
    """Titles, panels and axes of a figure of curves.

    y_max: upper end of the error axis in percent, used only if most curves end below it, unless
    `y_forced` is set.
    dashed: draw training errors dashed (as in figure 6), not thin (as in figure 4).
    smooth: how many rows of metrics.csv each point of a training curve averages.
    width: of the whole figure in inches, for a paper: the text is smaller, and there is no caption.
    None: as wide as needed, with a caption.
    narrow: for a phone: stack the panels, and write the names of nets below them.
    """

    title: str = ""
    panels: list[PanelConfig] = field(default_factory=lambda: StudyConfig().panels)
    dashed: bool = False
    y_max: float | None = None
    y_forced: bool = False
    x: str = "iteration"
    smooth: int = 1
    log: bool = False
    width: float | None = None
    narrow: bool = False

    def study_settings(self) -> dict[str, Any]:
        """Return the settings that a study can set; they are part of the study's identity."""
        settings = dataclasses.asdict(self)
        return {key: settings[key] for key in settings if key not in ("width", "narrow")}


def adjust_drawing(
    drawing: Drawing, *, errors: str | None = None, together: bool = False, **settings: Any
) -> Drawing:
    """Return a copy of the drawing with the given settings; None leaves a setting unchanged.

    width: in inches, or column or text.
    errors: both, training or held-out. together: show plain and residual nets in one panel.
    settings: fields of Drawing; with a width, the figure has no title unless one is given.
    Raises ConfigError if a value is not valid.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    if isinstance(given.get("width"), str):
        given["width"] = WIDTHS.get(given["width"], given["width"])
    for key, value, choices in (
        ("x", given.get("x"), X_COLUMNS),
        ("errors", errors, ERROR_CHOICES),
    ):
        if value is not None and value not in choices:
            raise ConfigError(f"{key}={value} is not valid: choose {', '.join(choices)}")
    for name, kind, lowest, highest, expected in (
        ("smooth", Integral, 1, math.inf, "a whole number of at least 1"),
        ("y_max", Real, 1e-9, 100, "a number above 0 and at most 100 (percent)"),
        ("width", Real, 1, 40, "1 to 40 (inches), column or text"),
    ):
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, kind) or not lowest <= float(value) <= highest:
            raise ConfigError(f"{name}={value!r} is not valid: it must be {expected}")
    panels = [PanelConfig()] if together else drawing.panels
    if errors is not None:
        panels = [replace(panel, errors=errors) for panel in panels]
    if "width" in given:
        given.setdefault("title", "")
    if "y_max" in given:
        given["y_forced"] = True
    return replace(drawing, panels=panels, **given)


def panel_shows(panel: PanelConfig, config: Config) -> bool:
    """Return whether a panel shows a net."""
    kind_matches = panel.residual is None or panel.residual == config.residual
    return kind_matches and panel.min_depth <= config.depth <= panel.max_depth


def read_drawing(folder: Path) -> Drawing:
    """Read the drawing from the study.json in a folder; return the default if there is none.

    Raises UserError if study.json is damaged.
    """
    index = folder / "study.json"
    if not index.is_file():
        return Drawing()
    try:
        settings = json.loads(index.read_bytes())["drawing"]
        panels = [PanelConfig(**panel) for panel in settings.pop("panels")]
        return Drawing(panels=panels, **settings)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is not a valid study.json: {error}") from error
