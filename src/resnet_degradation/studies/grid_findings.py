"""The findings of a study that trains every net at several values of a setting."""

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean
from typing import Any

from resnet_degradation.config.identity import architecture_key, get_setting, net_name
from resnet_degradation.studies.findings import compare_nets, depth_series_of, find_verdicts
from resnet_degradation.studies.results import NetResults, Result, by_net
from resnet_degradation.studies.verdict import pooled_spread

Point = tuple[Any, ...]  # a value of each setting of the grid


def find_grid_verdicts(results: list[Result], keys: Sequence[str]) -> list[str]:
    """The gap between deep and shallow nets at every value, and verdicts on nets at their best.

    keys: the dotted keys of the settings that vary. A net is at its best at the value with the
    lowest mean training error, among the values at which all its seeds have finished. This value is
    chosen from the same runs whose error is reported, which favours all nets in the same way.
    """
    nets: dict[str, dict[Point, NetResults]] = defaultdict(dict)  # the points of each net
    for net in by_net(results):
        point = tuple(get_setting(net.config, key) for key in keys)
        nets[architecture_key(net.config)][point] = net
    names = {key: net_name(next(iter(points.values())).config) for key, points in nets.items()}
    gaps = [_gap(shallow, deep, names, nets, keys) for shallow, deep in _depth_pairs(nets)]
    verdicts = [gap for gap in gaps if gap]
    texts, best, left_out = [], {}, []
    for key, points in nets.items():
        seeds = {seed for net in points.values() for seed in _seeds(net)}
        complete = [point for point in points if _seeds(points[point]) == seeds]
        left_out += [f"{names[key]} at {_at(p, keys)}" for p in points if p not in complete]
        if complete:
            best[key] = min(complete, key=lambda point: _error(points[point]))
            error = f"{_error(points[best[key]]):.2f} %"
            texts.append(f"{names[key]} at {_at(best[key], keys)} ({error})")
        else:
            texts.append(f"{names[key]} unclear")
    note = f"; left out, because a seed is missing: {', '.join(left_out)}" if left_out else ""
    verdicts.append(f"lowest training error of each net: {', '.join(texts)}{note}")
    at_best = [result for key, point in best.items() for result in nets[key][point].results]
    verdicts += [f"each net at its best: {verdict}" for verdict in find_verdicts(at_best)]
    return verdicts


def _seeds(net: NetResults) -> set[int]:
    return {result.config.seed for result in net.results}


def _error(net: NetResults) -> float:
    return mean(result.errors.train_error for result in net.results)


def _at(point: Point, keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in zip(keys, point, strict=True))


def _depth_pairs(nets: dict[str, dict[Point, NetResults]]) -> list[tuple[str, str]]:
    """The shallowest and the deepest net of each series, by their keys."""
    series: dict[Any, list[tuple[int, str]]] = defaultdict(list)
    for key, points in nets.items():
        config = next(iter(points.values())).config
        if config.extends is None:
            series[depth_series_of(config)].append((config.depth, key))
    pairs = [(min(members), max(members)) for members in series.values()]
    return [(first[1], last[1]) for first, last in pairs if first[0] < last[0]]


def _gap(
    shallow: str,
    deep: str,
    names: dict[str, str],
    nets: dict[str, dict[Point, NetResults]],
    keys: Sequence[str],
) -> str:
    """The deep net's training error minus the shallow one's at every point, and its trend.

    Empty if the nets have no point and seed in common.
    """
    spread = pooled_spread(
        [result.errors.train_error for result in net.results]
        for points in nets.values()
        for net in points.values()
    )
    gaps = {}
    for point in nets[shallow]:
        if point in nets[deep]:
            gap = compare_nets(nets[shallow][point], nets[deep][point], spread)
            if gap is not None:
                gaps[point] = gap
    if not gaps:
        return ""
    listed = ", ".join(
        f"{gap.mean:+.2f} (noise {gap.threshold:.2f}) at {_at(point, keys)}"
        for point, gap in gaps.items()
    )
    outcomes = [gap.outcome for gap in gaps.values()]
    words = {"worse": "worse", "alike": "not different", "better": "better"}
    counts = [f"{text} at {outcomes.count(o)}" for o, text in words.items() if o in outcomes]
    return (
        f"{names[deep]} minus {names[shallow]}, points of training error: {listed}. "
        f"The deeper net is {', '.join(counts)} of {len(gaps)} values"
        f"{_trend({point[0]: gap.mean for point, gap in gaps.items()}, keys)}"
    )


def _trend(gaps: dict[Any, float], keys: Sequence[str]) -> str:
    """How the gap changes with the length of the training."""
    if [*keys] != ["recipe.iterations"] or not all(isinstance(x, int) for x in gaps):
        return ""
    first, last = min(gaps), max(gaps)
    if first == last or min(gaps[first], gaps[last]) <= 0:
        return ""
    factor = (gaps[last] / gaps[first]) ** (1 / math.log2(last / first))
    return (
        f". From {first:,} to {last:,} iterations, each doubling multiplies the gap by "
        f"{factor:.2f} on average"
    )
