"""Computes the findings of a study from its runs: verdicts, and cautions about them."""

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
from resnet_degradation.studies.results import NetResults, Result, by_net, mean_and_spread
from resnet_degradation.studies.verdict import (
    CURE,
    DEPTH,
    EXTENSION,
    RESIDUAL,
    Comparison,
    Spread,
    Wording,
    compare,
    pooled_spread,
    twin_wording,
)


class DepthSeries(NamedTuple):
    """The settings that must be equal in nets that are compared across depths."""

    shortcut: str | None  # the option; None for plain nets
    shortcut_padding: str  # of option A
    width: float
    block: str  # basic, bottleneck, or a custom one as module:attribute
    family: str


# A setting that distinguishes a net from its twin, the twin's value, and its name in verdicts.
TWINS: tuple[tuple[str, Any, str], ...] = (
    ("shortcut", "A", "option A"),
    ("shortcut_padding", "behind", "shortcut_padding=behind"),
    ("block", "basic", "basic blocks"),
)
SeriesByDepth = dict[DepthSeries, dict[int, NetResults]]  # the nets of each series, by depth


def find_verdicts(results: list[Result]) -> list[str]:
    """The verdicts on pairs of nets that have seeds in common.

    First the deepest net of each series against its shallowest, then the deepest residual net
    against the plain net of the same depth, then each series against its twin (shortcut option A,
    basic blocks), and last the nets that extend a shallow one against those trained from scratch.
    """
    nets = by_net(results)
    series: SeriesByDepth = {}
    for net in nets:
        if net.config.extends is None:
            series.setdefault(depth_series_of(net.config), {})[net.config.depth] = net
    spread_of_all = pooled_spread(
        [result.errors.train_error for result in net.results]
        for depths in series.values()
        for net in depths.values()
    )
    verdicts: list[str] = []

    def add_verdict(first: NetResults, second: NetResults, wording: Wording) -> str | None:
        """Compare two nets; return the outcome, None if they have no seed in common."""
        comparison = compare_nets(first, second, spread_of_all)
        if comparison is None:
            return None
        verdicts.append(comparison.verdict(wording))
        return comparison.outcome

    outcomes: dict[DepthSeries, str | None] = {}
    for key, depths in series.items():
        if len(depths) > 1:
            outcomes[key] = add_verdict(depths[min(depths)], depths[max(depths)], DEPTH)
    for key, depths in series.items():
        plain_key = key._replace(shortcut=None, shortcut_padding="behind")
        plain = series.get(plain_key, {})
        if key.shortcut is not None and (shared := depths.keys() & plain.keys()):
            degraded = outcomes.get(plain_key) == "worse"
            cured = degraded and outcomes.get(key) in ("alike", "better")
            add_verdict(plain[max(shared)], depths[max(shared)], CURE if cured else RESIDUAL)
    for twin, net, name in _twins(series):
        add_verdict(twin, net, twin_wording(name))
    for net in nets:
        if net.config.extends is not None:
            first = min(net.results, key=lambda result: result.config.seed)
            if (facts := read_extension(first.folder)) is not None:
                verdicts.append(extension_verdict(facts, first.config.seed))
            if from_scratch := series.get(depth_series_of(net.config), {}).get(net.config.depth):
                add_verdict(from_scratch, net, EXTENSION)
    return verdicts


def compare_nets(first: NetResults, second: NetResults, pooled: Spread | None) -> Comparison | None:
    """Compare the second net with the first, over the seeds that both have; None without any.

    pooled: the spread over the nets of the study, for a comparison over a single seed.
    """
    pairs = [
        (result, other)
        for result in first.results
        for other in second.results
        if result.config.seed == other.config.seed
    ]
    if not pairs:
        return None
    return compare(
        first.name,
        second.name,
        [result.errors.train_error for result, _ in pairs],
        [other.errors.train_error for _, other in pairs],
        min(result.errors.num_counted_images for result in pairs[0]),
        pooled,
    )


def depth_series_of(config: Config) -> DepthSeries:
    """The settings that must be equal in nets that are compared with this one across depths."""
    family = cast(Family, config.family)
    block = config.block or find_architecture(config.depth, family).block
    padding = str(config.shortcut_padding)
    return DepthSeries(config.shortcut, padding, config.width, block, family)


def _twins(series: SeriesByDepth) -> Iterator[tuple[NetResults, NetResults, str]]:
    """Yield (twin, net, name): option A with option B or C, and basic with other blocks.

    Twins have equal depths or, like 34 and 50 layers (Table 1), equally many blocks in each stage.
    """
    for key, depths in sorted(series.items(), key=str):
        for field, usual, name in TWINS:
            if getattr(key, field) in (None, usual):
                continue
            twin_key = key._replace(**{field: usual})
            if field == "block" and twin_key not in series:
                # Bottlenecks at another width have the multiply-adds of basic blocks at width 1.
                twin_key = twin_key._replace(width=1.0)
            twins = series.get(twin_key, {})
            pairs = [
                (t, d)
                for d in depths
                for t in twins
                if _blocks_per_stage(t) == _blocks_per_stage(d)
            ]
            if pairs:
                twin_depth, depth = max(pairs)
                yield twins[twin_depth], depths[depth], name


def _blocks_per_stage(depth: int) -> tuple[int, ...]:
    """The blocks of each stage of an ImageNet net; of other nets, the depth."""
    return IMAGENET_DEPTHS.get(depth, ("basic", (depth,)))[1]


def extension_verdict(facts: dict[str, Any], seed: int) -> str:
    """A sentence that compares the extended net before training with the shallow net.

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


def response_summary(results: list[Result]) -> str:
    """The standard deviation of responses, averaged over the 3x3 layers of each net."""
    means = [
        f"{net.name} {mean_and_spread(result.mean_response for result in net.results)}"
        for net in by_net(results)
    ]
    return f"standard deviation of layer responses, mean over layers: {', '.join(means)}"


def find_cautions(results: list[Result], grid: Collection[str] = ()) -> list[str]:
    """Reasons why a verdict may be misleading.

    grid: the dotted keys of the settings that the study varies on purpose.
    """
    nets = by_net(results)
    configs, net_names = [net.config for net in nets], [net.name for net in nets]
    extended = [net.config for net in nets if net.config.extends is not None]
    # In a grid, nets at all values have the same caution: give it once.
    cautions = list(dict.fromkeys(_extension_caution(config, nets, grid) for config in extended))
    # Settings that do not describe the net may also differ: warmup=auto depends on the depth.
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
    chance = max(100 * (1 - 1 / result.num_classes) for result in results)
    near = [name for name, result in named if result.errors.train_error > 0.9 * chance]
    if len(near) == len(results):
        cautions.append(
            f"every training error is near chance ({chance:.1f} %): nets cannot be "
            "compared: train longer, or change the learning rate"
        )
    elif near:
        cautions.append(
            f"{', '.join(near)} ended near chance ({chance:.1f} %): a longer run may change that"
        )
    return cautions


def _extension_caution(extended: Config, nets: list[NetResults], grid: Collection[str]) -> str:
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
