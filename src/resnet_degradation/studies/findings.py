"""Computes the verdicts of a study from its results, and cautions about these verdicts."""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, cast

from resnet_degradation.config.architectures import IMAGENET_DEPTHS, Family, find_architecture
from resnet_degradation.config.identity import (
    NET_SETTINGS,
    describe_values,
    differing_settings,
    distinct_run_names,
    get_setting,
    net_name,
    shallow_config,
)
from resnet_degradation.config.schema import Config
from resnet_degradation.records.run_folder import read_extension
from resnet_degradation.studies.results import (
    NetResults,
    Result,
    format_mean_and_spread,
    group_results_by_net,
)
from resnet_degradation.studies.verdict import (
    CURE_WORDING,
    DEPTH_WORDING,
    EXTENSION_WORDING,
    RESIDUAL_WORDING,
    Comparison,
    Spread,
    Wording,
    compare,
    pooled_spread,
    twin_wording,
)


class DepthSeries(NamedTuple):
    """The settings of nets that differ only in depth, and so can be compared across depths."""

    shortcut: str | None  # option A, B or C; None for plain nets
    shortcut_padding: str  # where option A puts its zero channels
    width: float
    block: str  # basic, bottleneck, or a custom block as module:attribute
    family: str


# The setting that differs between a net and its twin, the twin's value, and its name in verdicts.
TWINS: tuple[tuple[str, Any, str], ...] = (
    ("shortcut", "A", "option A"),
    ("shortcut_padding", "behind", "shortcut_padding=behind"),
    ("block", "basic", "basic blocks"),
)
NetsBySeries = dict[DepthSeries, dict[int, NetResults]]  # the nets of each series, keyed by depth


def find_verdicts(results: list[Result]) -> list[str]:
    """Compare pairs of nets that have seeds in common; return a verdict on each pair.

    The pairs, in order: the shallowest and the deepest net of each series, for residual nets also
    among the depths that plain nets have; a plain and a residual net of the same depth, the largest
    that both have; each net and its twin (with shortcut option A or basic blocks); a net trained
    from scratch and one that extends a shallower net.
    """
    nets = group_results_by_net(results)
    series: NetsBySeries = {}
    for net in nets:
        if net.config.extends is None:
            series.setdefault(get_depth_series(net.config), {})[net.config.depth] = net
    pooled_over_study = pooled_spread(
        [result.errors.train_error for result in net.results]
        for depths in series.values()
        for net in depths.values()
    )
    verdicts: list[str] = []

    def add_verdict(first: NetResults, second: NetResults, wording: Wording) -> str | None:
        """Compare two nets and return the outcome, or None if they have no seed in common."""
        comparison = compare_nets(first, second, pooled_over_study)
        if comparison is None:
            return None
        verdicts.append(comparison.describe(wording))
        return comparison.outcome

    # The first outcome of each series. A residual net is first compared at depths of plain nets.
    outcomes: dict[DepthSeries, str | None] = {}
    for key, depths in series.items():
        shared = depths.keys() & _get_plain_series(series, key).keys()
        ranges = [(min(group), max(group)) for group in (shared, depths) if len(group) > 1]
        for shallowest, deepest in dict.fromkeys(ranges):
            outcome = add_verdict(depths[shallowest], depths[deepest], DEPTH_WORDING)
            outcomes.setdefault(key, outcome)
    for key, depths in series.items():
        plain = _get_plain_series(series, key)
        if key.shortcut is not None and (shared := depths.keys() & plain.keys()):
            degraded = outcomes.get(_get_plain_key(key)) == "worse"
            cured = degraded and outcomes.get(key) in ("alike", "better")
            add_verdict(
                plain[max(shared)], depths[max(shared)], CURE_WORDING if cured else RESIDUAL_WORDING
            )
    for twin, net, name in _find_twins(series):
        add_verdict(twin, net, twin_wording(name))
    for net in nets:
        if net.config.extends is not None:
            first = min(net.results, key=lambda result: result.config.seed)
            if (facts := read_extension(first.folder)) is not None:
                verdicts.append(describe_extension(facts, first.config.seed))
            if from_scratch := series.get(get_depth_series(net.config), {}).get(net.config.depth):
                add_verdict(from_scratch, net, EXTENSION_WORDING)
    return verdicts


def _get_plain_key(key: DepthSeries) -> DepthSeries:
    return key._replace(shortcut=None, shortcut_padding="behind")


def _get_plain_series(series: NetsBySeries, key: DepthSeries) -> dict[int, NetResults]:
    """The plain nets with otherwise the same settings, keyed by depth."""
    return series.get(_get_plain_key(key), {})


def compare_nets(first: NetResults, second: NetResults, pooled: Spread | None) -> Comparison | None:
    """Compare two nets over their common seeds; return None if they have none.

    pooled: the spread pooled over the nets of the study, for comparisons over a single seed.
    """
    pairs = [
        (first_result, second_result)
        for first_result in first.results
        for second_result in second.results
        if first_result.config.seed == second_result.config.seed
    ]
    if not pairs:
        return None
    return compare(
        first.name,
        second.name,
        [first_result.errors.train_error for first_result, _ in pairs],
        [second_result.errors.train_error for _, second_result in pairs],
        min(result.errors.num_counted_images for result in pairs[0]),
        pooled,
    )


def get_depth_series(config: Config) -> DepthSeries:
    """The series that a net belongs to."""
    family = cast(Family, config.family)
    block = config.block or find_architecture(config.depth, family).block
    padding = str(config.shortcut_padding)
    return DepthSeries(config.shortcut, padding, config.width, block, family)


def _find_twins(series: NetsBySeries) -> Iterator[tuple[NetResults, NetResults, str]]:
    """Yield each net with its twin, as (twin, net, name of the twin's setting).

    The twin of a net with shortcut option B or C has option A, for example. Twins have the same
    depth, or the same number of blocks in each stage, as 34 and 50 layers have (Table 1).
    """
    for key, depths in sorted(series.items(), key=str):
        for field, twin_value, name in TWINS:
            if getattr(key, field) in (None, twin_value):
                continue
            twin_key = key._replace(**{field: twin_value})
            if field == "block" and twin_key not in series:
                # Bottlenecks of another width can match the multiply-adds of basic blocks of
                # width 1.
                twin_key = twin_key._replace(width=1.0)
            twins = series.get(twin_key, {})
            pairs = [
                (twin_depth, depth)
                for depth in depths
                for twin_depth in twins
                if _get_blocks_per_stage(twin_depth) == _get_blocks_per_stage(depth)
            ]
            if pairs:
                twin_depth, depth = max(pairs)
                yield twins[twin_depth], depths[depth], name


def _get_blocks_per_stage(depth: int) -> tuple[int, ...]:
    """The number of blocks in each stage of an ImageNet net; for other nets, just the depth."""
    return IMAGENET_DEPTHS.get(depth, ("basic", (depth,)))[1]


def describe_extension(facts: dict[str, Any], seed: int) -> str:
    """Describe how the extended net, before training, compares with the shallow net.

    facts: the content of extension.json.
    """
    deep, shallow = facts["deep"], facts["shallow"]
    held_out = ", ".join(
        f"{name} error {deep['held_out_errors'][name]:.2f} % and {error:.2f} %"
        for name, error in shallow["held_out_errors"].items()
    )
    return (
        f"{facts['deep_net']} (seed {seed}) before training and {facts['shallow_net']}, in "
        f"evaluation mode: training error {deep['train_error']:.2f} % and "
        f"{shallow['train_error']:.2f} % on the same {facts['num_train_images']:,} images, "
        f"{held_out}; logits, at most {facts['largest_score']:.1f} in size, differ by at most "
        f"{facts['largest_difference']:.0e}"
    )


def summarize_responses(results: list[Result]) -> str:
    """Describe the standard deviations of responses, averaged over the 3x3 layers of each net."""
    means = [
        f"{net.name} {format_mean_and_spread(result.mean_response for result in net.results)}"
        for net in group_results_by_net(results)
    ]
    return f"standard deviation of layer responses, mean over layers: {', '.join(means)}"


def find_cautions(results: list[Result], grid: Collection[str] = ()) -> list[str]:
    """List reasons why the verdicts may be misleading.

    grid: the dotted keys of the settings that the study varies on purpose.
    """
    nets = group_results_by_net(results)
    configs, net_names = [net.config for net in nets], [net.name for net in nets]
    extended = [net.config for net in nets if net.config.extends is not None]
    # Remove duplicates, because the caution is the same at all points of a grid.
    cautions = list(
        dict.fromkeys(_make_extension_caution(config, nets, grid) for config in extended)
    )
    # Other settings may differ, too: warmup=auto depends on the depth.
    cautions += [
        describe_values(key, [get_setting(config, key) for config in configs], net_names)
        + ": a difference between these nets need not come from their architecture"
        for key in differing_settings(configs)
        if key not in (*NET_SETTINGS, *grid, "seed")
    ]
    names = distinct_run_names([result.config for result in results])
    named = list(zip(names, results, strict=True))
    if warming_up := [name for name, result in named if result.still_warming_up]:
        cautions.append(
            f"{', '.join(warming_up)} ended while still warming up, at the smaller learning rate "
            "(recipe.warmup_lr): not comparable with the other nets; train for longer"
        )
    chance_error = max(100 * (1 - 1 / result.num_classes) for result in results)
    near_chance = [name for name, result in named if result.errors.train_error > 0.9 * chance_error]
    if len(near_chance) == len(results):
        cautions.append(
            f"every training error is near chance ({chance_error:.1f} %): nets cannot be "
            "compared: train longer, or change the learning rate"
        )
    elif near_chance:
        cautions.append(
            f"{', '.join(near_chance)} ended near chance ({chance_error:.1f} %): a longer run may "
            "change that"
        )
    return cautions


def _make_extension_caution(extended: Config, nets: list[NetResults], grid: Collection[str]) -> str:
    shallow = shallow_config(extended)
    caution = (
        f"{net_name(extended)} began with the solution of {net_name(shallow)}, so its total "
        "training includes the iterations of that net"
    )
    for net in nets:
        differing = differing_settings([shallow, net.config])
        differing = [key for key in differing if key not in ("seed", *grid)]
        if net_name(net.config) == net_name(shallow) and differing:
            values = " and ".join(f"{key}={get_setting(shallow, key)}" for key in differing)
            caution += f", which was trained with {values} (unlike {net.name} in this study)"
    return caution
