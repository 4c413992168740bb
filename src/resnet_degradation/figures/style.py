"""How figures look: the same nets in the same colours everywhere."""

from typing import Any

# Okabe and Ito's palette, which colour-blind readers can tell apart, laid over the paper's
# colours: 20 layers yellow, 56 red, 110 black (figure 6); 18 blue, 34 red (figure 4).
COLOURS = {
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

RC: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    # A figure drawn twice from the same record is the same file.
    "svg.hashsalt": "resnet-degradation",
}


def colour(depth: int) -> str:
    """The colour of all nets with this depth."""
    return COLOURS.get(depth, OTHER_COLOURS[depth % len(OTHER_COLOURS)])
