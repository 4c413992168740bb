"""Titles of figures: their main numbers, and whether differences exceed the noise."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from resnet_degradation.config.schema import Config

MAX_NETS = 4  # with more nets, a title names only the two that it compares


@dataclass(frozen=True)
class NetMeasurement:
    """A measured value of a net, and its value for each seed."""

    name: str
    config: Config
    value: float
    seeds: Sequence[float]


def choose_compared_nets(
    nets: list[NetMeasurement],
) -> tuple[NetMeasurement, NetMeasurement] | None:
    """Choose the two nets that a title compares; None if there is only one net.

    These are the plain and the residual net of the largest depth that both kinds have, or else the
    deepest net of each kind. If all nets are of one kind, they are the shallowest and the deepest.
    """
    by_depth = sorted(nets, key=lambda net: net.config.depth)
    plain, residual = ([n for n in by_depth if n.config.residual == kind] for kind in (False, True))
    if not plain or not residual:
        return (by_depth[0], by_depth[-1]) if len(nets) > 1 else None
    common = {n.config.depth for n in plain} & {n.config.depth for n in residual}
    if not common:
        return plain[-1], residual[-1]
    first, second = (
        next(n for n in kind if n.config.depth == max(common)) for kind in (plain, residual)
    )
    return first, second


def differ_clearly(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether means over seeds differ significantly (Welch's t-test at 5 %).

    Returns False if a net has fewer than two seeds, or if a value is not finite.
    """
    if min(len(first), len(second)) < 2 or not all(map(math.isfinite, [*first, *second])):
        return False
    if len({*first}) == len({*second}) == 1:
        return first[0] != second[0]
    from scipy import stats  # slow

    moments = (m for values in (first, second) for m in (mean(values), stdev(values), len(values)))
    return bool(stats.ttest_ind_from_stats(*moments, equal_var=False).pvalue < 0.05)


def uncertainty_note(first: Sequence[float], second: Sequence[float], names: str = "") -> str:
    """Return text for a title that compares two nets; empty if they clearly differ.

    first, second: the values of their seeds. names: names of the nets, put before the text.
    """
    seeds = min(len(first), len(second))
    if seeds == 1:
        return " (one seed)"
    return (
        ""
        if differ_clearly(first, second)
        else f" ({names}unclear: within the noise of {seeds} seeds)"
    )


def compose_title(
    subject: str,
    nets: list[NetMeasurement],
    show: Callable[[float], str],
    unit: str = "",
    factors: bool = False,
) -> str:
    """Compose a title of the subject, the nets' values (smallest first) and their uncertainty.

    Values that are not finite are left out; without any value, the title says "no value".
    show: formats a value; `unit` follows the first one. factors: compare logarithms, for positive
    quantities that span orders of magnitude.
    """
    nets = [net for net in nets if math.isfinite(net.value) and (net.value > 0 or not factors)]
    if not nets:
        return f"{subject}: no value"
    pair = choose_compared_nets(nets)
    shown = [*pair] if pair is not None and len(nets) > MAX_NETS else nets
    values = [f"{net.name} {show(net.value)}" for net in sorted(shown, key=lambda net: net.value)]
    values[0] += unit
    uncertainty = " (one seed)" if len(nets[0].seeds) == 1 else ""
    if pair is not None:
        first, second = ([_log(v) for v in net.seeds] if factors else net.seeds for net in pair)
        names = f"{pair[0].name} and {pair[1].name} " if len(nets) > 2 else ""
        uncertainty = uncertainty_note(first, second, names)
    return f"{subject}: {', '.join(values)}{uncertainty}"


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
