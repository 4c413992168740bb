"""Measuring one trained net, and leaving what was found in its run's folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing

import torch

from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.console.progress import ReportProgress
from resnet_degradation.data.batches import Batch, Batches
from resnet_degradation.data.dataset import evenly_spaced
from resnet_degradation.nets.build import make_net
from resnet_degradation.nets.overrides import methods_called, named_blocks
from resnet_degradation.probes.layer_stats import layer_stats
from resnet_degradation.probes.lesions import (
    keeping_shape,
    random_lesions,
    removable,
    single_lesion,
)
from resnet_degradation.probes.residual_norms import block_sizes
from resnet_degradation.probes.responses import layer_responses
from resnet_degradation.records.csv_tables import write_table
from resnet_degradation.records.inspection import FOLDER, BlockSizes, LayerStatsRow, LesionRow
from resnet_degradation.records.layers import (
    LayerStatsLog,
    Response,
    layer_stats_rows,
    read_layer_stats,
)
from resnet_degradation.system.errors import ConfigError, RecordError
from resnet_degradation.training.load_run import Trained


def measure(trained: Trained, asked: InspectionConfig, report: ReportProgress) -> None:
    """Write what is asked for of a trained net to inspection/ in its run's folder.

    Raises ConfigError if that needs F(x) and a custom block does not tell it apart.
    """
    folder, net = trained.folder / FOLDER, trained.net
    if set(asked.what) & {"residuals", "lesions"} and net.has_custom_blocks:
        _check_branches(trained)
    if not os.access(trained.folder, os.W_OK):
        raise RecordError(
            f"{trained.folder} is read-only, and tables of an inspection are written in it: copy "
            "the folder to where you may write, and inspect the copy"
        )
    folder.mkdir(exist_ok=True)
    held_out = _held_out(trained.batches) if set(asked.what) - {"signals"} else []
    images = [part for part, _ in held_out]
    if "responses" in asked.what:
        write_table(folder / "responses.csv", layer_responses(net, images), Response)
    if "signals" in asked.what:
        rows = layer_stats_rows(dict(sorted(_signals(trained).items())))
        write_table(folder / "signals.csv", rows, LayerStatsRow)
    if "residuals" in asked.what:
        write_table(folder / "residuals.csv", block_sizes(net, images), BlockSizes)
    if "lesions" in asked.what:
        lesions = list(_lesions(trained, held_out, asked, report))
        write_table(folder / "lesions.csv", lesions, LesionRow)


def _check_branches(trained: Trained) -> None:
    """Raise ConfigError if a residual block computes F(x) without calling `branch`."""
    blocks = named_blocks(trained.net)
    for name, called in methods_called(trained.net, trained.config.data.image_size).items():
        if blocks[name].residual and "branch" not in called:
            raise ConfigError(
                f"what=residuals and lesions need F(x), but {trained.config.block} computes it "
                "inside of forward: let forward call self.branch(x), or give "
                "'what=[responses,signals]'"
            )


def _held_out(batches: Batches) -> list[Batch]:
    """The images of the first held-out split, in batches."""
    with closing(batches.held_out(next(iter(batches.splits)))) as held_out:
        return list(held_out)


def _signals(trained: Trained) -> LayerStatsLog:
    """At the beginning, where that is known; as recorded while it trained; and now."""
    config, batches = trained.config, trained.batches
    signals = {
        at: of_layers
        for at, of_layers in read_layer_stats(trained.folder).items()
        if at < trained.iteration
    }
    with closing(batches.training(0, 1)) as training:
        images, labels = next(training)
    if 0 not in signals and config.weights is None and config.extends is None:
        untrained = make_net(config, batches.num_classes).to(images.device)
        untrained.to(memory_format=torch.channels_last)
        signals[0] = layer_stats(untrained, images, labels)
    signals[trained.iteration] = layer_stats(trained.net, images, labels)
    return signals


def _lesions(
    trained: Trained, held_out: list[Batch], asked: InspectionConfig, report: ReportProgress
) -> Iterator[LesionRow]:
    """The error of the whole net, without one block at a time, and without several at random."""
    net = trained.net
    error = _error_on(net, held_out)
    positions = {name: number for number, name in enumerate(named_blocks(net), 1)}
    candidates = list(removable(net))
    singles = [candidates[i] for i in evenly_spaced(len(candidates), asked.max_blocks).tolist()]
    num_random = len(keeping_shape(net))
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64, 128, 256) if count <= num_random]
    total, done = len(singles) + len(counts), 0
    yield LesionRow(0, 0, len(positions), "", error())
    for name in singles:
        lesion = single_lesion(net, name, error)
        done += 1
        report("lesions", done, total)
        yield LesionRow(1, positions[name], len(positions), name, lesion.error)
    for count in counts:
        for lesion in random_lesions(net, error, count, asked.draws, trained.config.seed):
            yield LesionRow(count, 0, len(positions), " ".join(lesion.blocks), lesion.error)
        done += 1
        report("lesions", done, total)


def _error_on(net: torch.nn.Module, parts: list[Batch]) -> Callable[[], float]:
    """Measures the net's error in percent on these images."""

    @torch.no_grad()
    def error() -> float:
        wrong = [(net(images).argmax(dim=1) != labels).sum() for images, labels in parts]
        return 100 * int(torch.stack(wrong).sum()) / sum(len(labels) for _, labels in parts)

    return error
