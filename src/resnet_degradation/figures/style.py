"""How figures look: the same nets in the same colours everywhere, on paper and on screen."""

from pathlib import Path
from typing import Any, cast

from matplotlib import rc_context, rcParams, rcParamsDefault
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, LogFormatterMathtext

from resnet_degradation.config.architectures import Family, default_shortcut
from resnet_degradation.config.schema import Config
from resnet_degradation.system.atomic_files import atomic_write

# Okabe and Ito's palette, which colour-blind readers can tell apart, laid over the paper's
# colours: 20 layers yellow, 56 red, 110 black (figure 6); 18 blue, 34 red (figure 4).
COLOURS = {
    8: "#999999",
    14: "#8C6D1F",
    20: "#E69F00",
    32: "#56B4E9",
    44: "#009E73",
    56: "#D55E00",
    110: "#000000",
    1202: "#CC79A7",
    18: "#0072B2",
    34: "#D55E00",
    50: "#009E73",
    101: "#E69F00",
    152: "#000000",
}

OTHER_COLOURS = ("#0072B2", "#CC79A7", "#56B4E9", "#009E73", "#E69F00")

# Where plain and residual nets share a panel: warm colours and cool ones, the shallowest net's
# and the deepest net's.
HUES = {False: ("#E69F00", "#D55E00"), True: ("#56B4E9", "#0072B2")}

# A net that began with the solution of a shallower one.
EXTENDED_COLOUR = "#009E73"

# For nets whose shortcut option is not the paper's; the others have the colour of their depth.
SHORTCUT_COLOURS = {"A": "#CC79A7", "B": "#0072B2", "C": "#009E73"}
FORMATS = ("png", "svg", "pdf")


def muted(dark: bool) -> str:
    """The colour of captions and legends."""
    return "#A8B0B8" if dark else "#555555"


def rc(dark: bool = False) -> dict[Any, Any]:
    """All settings of matplotlib: its defaults, not the user's, with our style on top.

    dark: for pages read on a dark screen.
    """
    ink, paper, grid = (
        ("#E4E7EB", "#171A1E", "#33383E") if dark else ("#000000", "white", "#DDDDDD")
    )
    # A context cannot restore the backend; figures are written without one.
    defaults = {name: value for name, value in rcParamsDefault.items() if name != "backend"}
    return defaults | {
        "font.size": 9,
        "text.color": ink,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "axes.facecolor": paper,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": grid,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "text.parse_math": False,  # a $ in a folder's name or a title is a $
        "figure.facecolor": paper,
        "savefig.dpi": 200,
        "pdf.fonttype": 42,  # keeps text editable
        "svg.fonttype": "none",
        # A figure drawn twice from the same record is the same file.
        "svg.hashsalt": "resnet-degradation",
    }


def colours(configs: list[Config], dark: bool = False) -> list[str]:
    """The colours of these nets in one panel, by depth and shortcut; repeated ones are shaded."""
    return _distinct([on_page(_base_colour(config), dark) for config in configs])


def hues(configs: list[Config], dark: bool = False) -> list[str]:
    """The colours of plain and residual nets in one panel: plain ones warm, residual ones cool."""
    base = []
    for config in configs:
        first, last = (on_page(colour, dark) for colour in HUES[config.residual])
        depths = sorted({c.depth for c in configs if c.residual == config.residual})
        share = depths.index(config.depth) / (len(depths) - 1) if len(depths) > 1 else 1.0
        extended = config.extends is not None
        base.append(EXTENDED_COLOUR if extended else _mixed(first, _parts(last), share))
    return _distinct(base)


def legible(colour: str) -> str:
    """The colour moved towards that of text, for words that are written in it."""
    return _mixed(to_hex(colour), _parts(to_hex(rcParams["text.color"])), 0.3)


def _distinct(base: list[str]) -> list[str]:
    return [_shaded(colour, base[:place].count(colour)) for place, colour in enumerate(base)]


def _base_colour(config: Config) -> str:
    if config.extends is not None:
        return EXTENDED_COLOUR
    usual = default_shortcut(config.depth, cast(Family, config.family))
    if config.shortcut is not None and config.shortcut != usual:
        return SHORTCUT_COLOURS[config.shortcut]
    return COLOURS.get(config.depth, OTHER_COLOURS[config.depth % len(OTHER_COLOURS)])


def on_page(colour: str, dark: bool) -> str:
    """The colour, brightened where it would be hard to see on a dark page."""
    return {"#000000": "#FFFFFF", "#0072B2": "#3D9BDC"}.get(colour, colour) if dark else colour


def _shaded(colour: str, step: int) -> str:
    """The colour, at each step halfway closer to grey; greys move closer to a red instead."""
    if step == 0:
        return colour
    parts = _parts(colour)
    target = (150, 150, 150) if max(parts) > min(parts) else (200, 60, 120)
    return _mixed(colour, target, 1 - 0.5**step)


def _parts(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _mixed(colour: str, target: tuple[int, ...], share: float) -> str:
    """The colour, moved by this share of the way to the target."""
    mixed = (part + share * (aim - part) for part, aim in zip(_parts(colour), target, strict=True))
    return "#" + "".join(f"{round(value):02X}" for value in mixed)


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


def save_figure(
    figure: Figure, stem: Path, formats: tuple[str, ...] = FORMATS, dark: bool = False
) -> list[Path]:
    """Write the figure in each format; `stem` is the path without suffix. Returns the files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and with fixed identifiers, the same record gives the same file.
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    files = [stem.with_name(f"{stem.name}.{name}") for name in formats]
    with rc_context(rc(dark)):
        _format_log_axes(figure)
        for name, file in zip(formats, files, strict=True):
            with atomic_write(file, "wb") as stream:
                figure.savefig(stream, format=name, metadata=undated[name])
    return files
