"""The style of figures: a net has the same colour in all of them, on paper and on screen."""

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

# Plain nets have warm colours and residual nets cool ones. Deeper nets are darker, so that
# colour-blind readers and grey printers can distinguish them too. These are the colours of a few
# depths; other depths are interpolated.
DEPTHS = {"cifar": (8, 20, 56, 110, 1202), "imagenet": (10, 18, 42, 152, 1202)}
SHADES = {
    False: ("#F7D978", "#E9A100", "#BE3F00", "#6A1810", "#2A0A08"),
    True: ("#9AD9D0", "#2FA3BC", "#283F9E", "#2B1054", "#0A0412"),
}

# A net that began with the solution of a shallower one.
EXTENDED_COLOUR = "#009E73"

# For nets whose shortcut option is not the default for their depth.
SHORTCUT_COLOURS = {"A": "#CC79A7", "B": "#CC79A7", "C": "#5C1F5C"}
FORMATS = ("png", "svg", "pdf")

TEXT_CONTRAST = 4.5  # the least contrast of text and its background (WCAG 2, level AA)

LABEL_SIZE, SMALL_SIZE = 9.0, 7.5  # points, for labels of axes; see also name_size


def muted(dark: bool = False) -> str:
    """The colour of captions and legends."""
    return "#A8B0B8" if dark else "#555555"


def rc(dark: bool = False, small: bool = False) -> dict[Any, Any]:
    """All settings of matplotlib: its defaults, not the user's, with our style on top.

    dark: for pages read on a dark screen. small: for a column of a paper.
    """
    ink, paper, grid = (
        ("#E4E7EB", "#171A1E", "#33383E") if dark else ("#000000", "white", "#DDDDDD")
    )
    # A context cannot restore the backend; figures are written without one.
    defaults = {name: value for name, value in rcParamsDefault.items() if name != "backend"}
    return defaults | {
        "font.size": SMALL_SIZE if small else LABEL_SIZE,
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
        "text.parse_math": False,  # show a $ in a name or title as it is
        "figure.facecolor": paper,
        "savefig.dpi": 200,
        "pdf.fonttype": 42,  # keeps text editable
        "svg.fonttype": "none",
        # A figure drawn twice from the same record is the same file.
        "svg.hashsalt": "resnet-degradation",
    }


def colours(configs: list[Config], dark: bool = False) -> list[str]:
    """The colours of nets, the same in all figures. Equal colours get different shades."""
    base = [_base_colour(config) for config in configs]
    distinct = [
        _shaded(colour, base[:place].count(colour) / base.count(colour))
        for place, colour in enumerate(base)
    ]
    return [on_page(colour, dark) for colour in distinct]


def on_page(colour: str, dark: bool) -> str:
    """The colour, brightened on a dark page."""
    return _mixed(colour, (255, 255, 255), 0.4) if dark else colour


def name_size() -> float:
    """The size in points of captions and names of curves: 8, or 6.7 in a paper's column."""
    return float(rcParams["font.size"]) * 8 / 9


def thin_lines(figure: Figure) -> None:
    """Make the lines and markers of curves, and those in legends, thinner for a paper's column."""
    artists: list[Any] = [*figure.axes, *figure.legends]
    for line in (line for artist in artists for line in artist.get_lines()):
        line.set(linewidth=0.7 * line.get_linewidth(), markersize=0.7 * line.get_markersize())


def legible(colour: str) -> str:
    """The colour, mixed with that of text until text in it has the contrast that WCAG requires."""
    ink, paper = (to_hex(rcParams[name]) for name in ("text.color", "figure.facecolor"))
    shades = (_mixed(to_hex(colour), _parts(ink), share / 10) for share in range(3, 11))
    return next((shade for shade in shades if contrast(shade, paper) >= TEXT_CONTRAST), ink)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, from 1 to 21, as WCAG 2 defines it."""
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    shares = [part / 255 for part in _parts(colour)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _base_colour(config: Config) -> str:
    if config.extends is not None:
        return EXTENDED_COLOUR
    family = cast(Family, config.family)
    if config.shortcut not in (None, default_shortcut(config.depth, family)):
        return SHORTCUT_COLOURS[str(config.shortcut)]
    shades = zip(*map(_parts, SHADES[config.residual]), strict=True)
    return _hex(
        float(np.interp(config.depth, DEPTHS[family], channel_values)) for channel_values in shades
    )


def _shaded(colour: str, share: float) -> str:
    """The colour mixed with this share of a grey: a dark grey for light colours, and vice versa."""
    grey = 40 if sum(_parts(colour)) > 3 * 110 else 150
    return _mixed(colour, (grey, grey, grey), share)


def _parts(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _mixed(colour: str, target: tuple[int, ...], share: float) -> str:
    """The colour, moved by this share of the way to the target."""
    pairs = zip(_parts(colour), target, strict=True)
    return _hex(part + share * (target - part) for part, target in pairs)


def _hex(parts: Iterable[float]) -> str:
    return "#" + "".join(f"{round(value):02X}" for value in parts)


class _PlainLogFormatter(LogFormatter):
    """Writes 20 where matplotlib's own formatter writes LaTeX, which our style does not parse."""

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
    """A figure that a notebook shows, whether or not pyplot is loaded."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        with rc_context(rc()):
            self.savefig(stream, format="png", dpi=100)
        return stream.getvalue()


def for_notebook(figure: Figure) -> Figure:
    """Let a notebook show the figure, and let `savefig` write it as `save_figure` does."""
    _format_log_axes(figure)
    figure.__class__ = NotebookFigure
    return figure


def save_figure(
    figure: Figure, stem: Path, formats: tuple[str, ...] = FORMATS, dark: bool = False
) -> list[Path]:
    """Write the figure in each format; `stem` is the path without suffix. Returns the files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and with fixed identifiers, the same record gives the same file.
    metadata_without_date = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    files = [stem.with_name(f"{stem.name}.{name}") for name in formats]
    with rc_context(rc(dark)):
        _format_log_axes(figure)
        for name, file in zip(formats, files, strict=True):
            with atomic_write(file, "wb") as stream:
                figure.savefig(stream, format=name, metadata=metadata_without_date[name])
    return files
