"""Titles of figures: the main numbers of the data, and whether differences exceed the noise."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from resnet_degradation.config.schema import Config

MAX_NETS = 4  # if there are more nets, a title names only the two that it compares


@dataclass(frozen=True)
class Measured:
    """A net, the number that a title gives of it, and that number for every seed."""

    name: str
    config: Config
    value: float
    seeds: Sequence[float]


def compared(nets: list[Measured]) -> tuple[Measured, Measured] | None:
    """The two nets that a title compares; None if there is only one net.

    They are the plain and the residual net of the largest depth that both kinds have, or else the
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


def is_clear(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether the means over seeds differ by more than the noise: Welch's test at 5 %.

    It needs two seeds of each net, and is False for numbers that are not finite.
    """
    if min(len(first), len(second)) < 2 or not all(map(math.isfinite, [*first, *second])):
        return False
    if len({*first}) == len({*second}) == 1:
        return first[0] != second[0]
    from scipy import stats  # slow

    moments = (m for values in (first, second) for m in (mean(values), stdev(values), len(values)))
    return bool(stats.ttest_ind_from_stats(*moments, equal_var=False).pvalue < 0.05)


def uncertainty_note(first: Sequence[float], second: Sequence[float], names: str = "") -> str:
    """Text to add to a title that compares two nets; empty if their difference is clear.

    first, second: the values of their seeds. names: precedes the text, to name the nets.
    """
    seeds = min(len(first), len(second))
    if seeds == 1:
        return " (one seed)"
    return (
        "" if is_clear(first, second) else f" ({names}unclear: within the noise of {seeds} seeds)"
    )


def title_of(
    subject: str,
    nets: list[Measured],
    show: Callable[[float], str],
    unit: str = "",
    factors: bool = False,
) -> str:
    """The subject, the numbers of the nets (smallest first), and whether a difference is unclear.

    Numbers that are not finite are left out; without any number, the title says "no value".
    show: the text of a number; `unit` follows the first one. factors: compare the logarithms of
    the numbers, which must be positive; for quantities that spread over orders of magnitude.
    """
    nets = [net for net in nets if math.isfinite(net.value) and (net.value > 0 or not factors)]
    if not nets:
        return f"{subject}: no value"
    pair = compared(nets)
    shown = [*pair] if pair is not None and len(nets) > MAX_NETS else nets
    numbers = [f"{net.name} {show(net.value)}" for net in sorted(shown, key=lambda net: net.value)]
    numbers[0] += unit
    doubt = " (one seed)" if len(nets[0].seeds) == 1 else ""
    if pair is not None:
        first, second = ([_log(v) for v in net.seeds] if factors else net.seeds for net in pair)
        names = f"{pair[0].name} and {pair[1].name} " if len(nets) > 2 else ""
        doubt = uncertainty_note(first, second, names)
    return f"{subject}: {', '.join(numbers)}{doubt}"


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
