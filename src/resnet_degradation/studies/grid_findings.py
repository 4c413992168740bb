"""Writes the conclusions (verdicts) of a study that trains each net at several grid points."""

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean
from typing import Any

from resnet_degradation.config.identity import architecture_key, get_setting, net_name
from resnet_degradation.studies.findings import compare_nets, find_verdicts, get_depth_series
from resnet_degradation.studies.results import NetResults, Result, group_results_by_net
from resnet_degradation.studies.verdict import pooled_spread

GridPoint = tuple[Any, ...]  # one value for each setting of the grid


def find_grid_verdicts(results: list[Result], keys: Sequence[str]) -> list[str]:
    """Compare deep with shallow nets at each grid point, and all nets at their best points.

    The best point of a net has the lowest mean training error of the points at which every seed
    used for this net has finished. Selection and report use the same errors, so all nets look
    slightly too good, about equally.

    keys: the dotted keys of the settings that vary.
    """
    nets: dict[str, dict[GridPoint, NetResults]] = defaultdict(dict)  # keyed by net, then by point
    for net in group_results_by_net(results):
        point = tuple(get_setting(net.config, key) for key in keys)
        nets[architecture_key(net.config)][point] = net
    names = {key: net_name(next(iter(points.values())).config) for key, points in nets.items()}
    gaps = [
        _describe_gap(shallow, deep, names, nets, keys) for shallow, deep in _find_depth_pairs(nets)
    ]
    verdicts = [gap for gap in gaps if gap]
    best_texts, best, incomplete = [], {}, []
    for key, points in nets.items():
        seeds = {seed for net in points.values() for seed in _get_seeds(net)}
        complete = [point for point in points if _get_seeds(points[point]) == seeds]
        incomplete += [
            f"{names[key]} at {_format_point(point, keys)}"
            for point in points
            if point not in complete
        ]
        if complete:
            best[key] = min(complete, key=lambda point: _mean_error(points[point]))
            error = f"{_mean_error(points[best[key]]):.2f} %"
            best_texts.append(f"{names[key]} at {_format_point(best[key], keys)} ({error})")
        else:
            best_texts.append(f"{names[key]} unclear")
    note = f"; left out, because a seed is missing: {', '.join(incomplete)}" if incomplete else ""
    verdicts.append(f"lowest training error of each net: {', '.join(best_texts)}{note}")
    best_results = [result for key, point in best.items() for result in nets[key][point].results]
    verdicts += [f"each net at its best: {verdict}" for verdict in find_verdicts(best_results)]
    return verdicts


def _get_seeds(net: NetResults) -> set[int]:
    return {result.config.seed for result in net.results}


def _mean_error(net: NetResults) -> float:
    return mean(result.errors.train_error for result in net.results)


def _format_point(point: GridPoint, keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in zip(keys, point, strict=True))


def _find_depth_pairs(nets: dict[str, dict[GridPoint, NetResults]]) -> list[tuple[str, str]]:
    """Return the keys of the shallowest and the deepest net of each series."""
    series: dict[Any, list[tuple[int, str]]] = defaultdict(list)
    for key, points in nets.items():
        config = next(iter(points.values())).config
        if config.extends is None:
            series[get_depth_series(config)].append((config.depth, key))
    pairs = [(min(members), max(members)) for members in series.values()]
    return [(first[1], last[1]) for first, last in pairs if first[0] < last[0]]


def _describe_gap(
    shallow: str,
    deep: str,
    names: dict[str, str],
    nets: dict[str, dict[GridPoint, NetResults]],
    keys: Sequence[str],
) -> str:
    """Describe how far the deep net's training error exceeds the shallow net's, and the trend.

    Returns "" if there is no point at which both nets have finished the same seed.
    """
    spread = pooled_spread(
        [result.errors.train_error for result in net.results]
        for points in nets.values()
        for net in points.values()
    )
    gaps = {}
    for point in nets[shallow]:
        if point in nets[deep]:
            comparison = compare_nets(nets[shallow][point], nets[deep][point], spread)
            if comparison is not None:
                gaps[point] = comparison
    if not gaps:
        return ""
    listed = ", ".join(
        f"{gap.mean:+.2f} (noise {gap.threshold:.2f}) at {_format_point(point, keys)}"
        for point, gap in gaps.items()
    )
    outcomes = [gap.outcome for gap in gaps.values()]
    words = {"worse": "worse", "alike": "not different", "better": "better"}
    counts = [
        f"{word} at {outcomes.count(outcome)}"
        for outcome, word in words.items()
        if outcome in outcomes
    ]
    return (
        f"{names[deep]} minus {names[shallow]}, points of training error: {listed}. "
        f"The deeper net is {', '.join(counts)} of {len(gaps)} values"
        f"{_describe_trend({point[0]: gap.mean for point, gap in gaps.items()}, keys)}"
    )


def _describe_trend(gaps: dict[Any, float], keys: Sequence[str]) -> str:
    """Describe how the gap changes with the length of training; "" if the length does not vary."""
    if [*keys] != ["recipe.iterations"] or not all(isinstance(length, int) for length in gaps):
        return ""
    first, last = min(gaps), max(gaps)
    if first == last or min(gaps[first], gaps[last]) <= 0:
        return ""
    factor = (gaps[last] / gaps[first]) ** (1 / math.log2(last / first))
    return (
        f". From {first:,} to {last:,} iterations, each doubling multiplies the gap by "
        f"{factor:.2f} on average"
    )
