"""The style of figures. A net has the same colour in all figures."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib import rc_context, rcParams, rcParamsDefault
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, LogFormatterMathtext

from resnet_degradation.config.architectures import Family, default_shortcut
from resnet_degradation.config.schema import Config
from resnet_degradation.system.atomic_files import atomic_write

# Plain nets have warm colours, residual nets cool ones. Deeper nets are darker, so that they are
# distinct for colour-blind readers and in grey prints. These are the colours at the depths in
# DEPTHS; others are interpolated.
DEPTHS = {"cifar": (8, 20, 56, 110, 1202), "imagenet": (10, 18, 42, 152, 1202)}
SHADES = {
    False: ("#F7D978", "#E9A100", "#BE3F00", "#6A1810", "#2A0A08"),
    True: ("#9AD9D0", "#2FA3BC", "#283F9E", "#2B1054", "#0A0412"),
}

# For nets that start from the weights of a shallower net.
EXTENDED_COLOUR = "#009E73"

# For nets whose shortcut option differs from the default for their depth.
SHORTCUT_COLOURS = {"A": "#CC79A7", "B": "#CC79A7", "C": "#5C1F5C"}
FORMATS = ("png", "svg", "pdf")

MIN_TEXT_CONTRAST = 4.5  # between text and background (WCAG 2, level AA)

FONT_SIZE, SMALL_FONT_SIZE = 9.0, 7.5  # in points, of axis labels; names have `name_size()`


def muted_colour(dark: bool = False) -> str:
    """Return the colour of captions and legends."""
    return "#A8B0B8" if dark else "#555555"


def rc(dark: bool = False, small: bool = False) -> dict[Any, Any]:
    """Return all settings of matplotlib: its own defaults (not the user's) with our style.

    dark: for a dark background. small: for a column of a paper.
    """
    ink, paper, grid = (
        ("#E4E7EB", "#171A1E", "#33383E") if dark else ("#000000", "white", "#DDDDDD")
    )
    # Without the backend, which rc_context cannot restore and figures do not need.
    defaults = {name: value for name, value in rcParamsDefault.items() if name != "backend"}
    return defaults | {
        "font.size": SMALL_FONT_SIZE if small else FONT_SIZE,
        "text.color": ink,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "axes.facecolor": paper,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.titlesize": "medium",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": grid,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "text.parse_math": False,  # show $ in names and titles as is
        "figure.facecolor": paper,
        "savefig.dpi": 200,
        "pdf.fonttype": 42,  # keeps text editable
        "svg.fonttype": "none",
        # The same record always gives the same file.
        "svg.hashsalt": "resnet-degradation",
    }


def choose_colours(configs: list[Config], dark: bool = False) -> list[str]:
    """Return the colours of nets; nets of equal colour get different shades."""
    base = [_base_colour(config) for config in configs]
    distinct = [
        _shade(colour, base[:index].count(colour) / base.count(colour))
        for index, colour in enumerate(base)
    ]
    return [adapt_to_background(colour, dark) for colour in distinct]


def adapt_to_background(colour: str, dark: bool) -> str:
    """Brighten the colour if the background is dark."""
    return _mix(colour, (255, 255, 255), 0.4) if dark else colour


def name_size() -> float:
    """Return the font size of captions and names in points: 8, or 6.7 in a column of a paper."""
    return float(rcParams["font.size"]) * 8 / 9


def make_lines_thinner(figure: Figure) -> None:
    """Make lines and markers of curves and legends thinner, for a column of a paper."""
    artists: list[Any] = [*figure.axes, *figure.legends]
    for line in (line for artist in artists for line in artist.get_lines()):
        line.set(linewidth=0.7 * line.get_linewidth(), markersize=0.7 * line.get_markersize())


def ensure_contrast(colour: str) -> str:
    """Mix the colour with the default text colour until it is readable as text."""
    ink, paper = (to_hex(rcParams[name]) for name in ("text.color", "figure.facecolor"))
    shades = (_mix(to_hex(colour), _rgb(ink), share / 10) for share in range(3, 11))
    return next(
        (shade for shade in shades if contrast_ratio(shade, paper) >= MIN_TEXT_CONTRAST), ink
    )


def contrast_ratio(first: str, second: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2), from 1 to 21."""
    dark, light = sorted(map(_luminance, (first, second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [value / 255 for value in _rgb(colour)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * channel for w, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _base_colour(config: Config) -> str:
    if config.extends is not None:
        return EXTENDED_COLOUR
    family = cast(Family, config.family)
    if config.shortcut not in (None, default_shortcut(config.depth, family)):
        return SHORTCUT_COLOURS[str(config.shortcut)]
    shades = zip(*map(_rgb, SHADES[config.residual]), strict=True)
    return _hex_code(
        float(np.interp(config.depth, DEPTHS[family], channel_values)) for channel_values in shades
    )


def _shade(colour: str, share: float) -> str:
    """Mix the colour with a grey: a dark grey for light colours, a light grey for dark ones."""
    grey = 40 if sum(_rgb(colour)) > 3 * 110 else 150
    return _mix(colour, (grey, grey, grey), share)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _mix(colour: str, other: tuple[int, ...], share: float) -> str:
    """Mix the colour with this share of the other one."""
    pairs = zip(_rgb(colour), other, strict=True)
    return _hex_code(value + share * (target - value) for value, target in pairs)


def _hex_code(rgb: Iterable[float]) -> str:
    return "#" + "".join(f"{round(value):02X}" for value in rgb)


class _PlainLogFormatter(LogFormatter):
    """Writes numbers like 20; matplotlib's formatter writes LaTeX, which our style disables."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def _format_log_axes(figure: Figure) -> None:
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
                axis.set_major_formatter(_PlainLogFormatter())
            if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
                axis.set_minor_formatter(_PlainLogFormatter(minor_thresholds=(2, 0.5)))


class NotebookFigure(Figure):
    """A figure that notebooks display, even without pyplot."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        with rc_context(rc()):
            self.savefig(stream, format="png", dpi=100)
        return stream.getvalue()


def prepare_for_notebook(figure: Figure) -> Figure:
    """Make notebooks display the figure, and `savefig` format axes like `save_figure`."""
    _format_log_axes(figure)
    figure.__class__ = NotebookFigure
    return figure


def save_figure(
    figure: Figure, stem: Path, formats: tuple[str, ...] = FORMATS, dark: bool = False
) -> list[Path]:
    """Write the figure in each format to `stem` (a path without suffix); return the files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Without a date, the same record always gives the same file.
    metadata_without_date = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    files = [stem.with_name(f"{stem.name}.{name}") for name in formats]
    with rc_context(rc(dark)):
        _format_log_axes(figure)
        for name, file in zip(formats, files, strict=True):
            with atomic_write(file, "wb") as stream:
                figure.savefig(stream, format=name, metadata=metadata_without_date[name])
    return files
