"""Measures one trained net and writes the tables into its run folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing

import torch

from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.console.progress import ReportProgress
from resnet_degradation.data.batches import Batch
from resnet_degradation.data.dataset import evenly_spaced
from resnet_degradation.nets.build import make_net
from resnet_degradation.nets.overrides import called_methods
from resnet_degradation.probes.layer_stats import layer_stats
from resnet_degradation.probes.lesions import (
    error_without,
    keeping_shape,
    random_blocks,
    removable,
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


def measure(trained: Trained, options: InspectionConfig, report: ReportProgress) -> None:
    """Write the tables that `options.what` lists to inspection/ in the run folder.

    Raises ConfigError if they need F(x) and a custom block does not compute it in `branch`.
    """
    folder, net, what = trained.folder / FOLDER, trained.net, options.what
    if {"residuals", "lesions"} & set(what) and net.has_custom_blocks:
        _check_branches(trained)
    if not os.access(trained.folder, os.W_OK):
        raise RecordError(
            f"{trained.folder} is read-only, and tables of an inspection are written in it: copy "
            "the folder to where you may write, and inspect the copy"
        )
    folder.mkdir(exist_ok=True)
    held_out: list[Batch] = []  # of the first held-out split
    if set(what) - {"signals"}:
        with closing(trained.batches.held_out(next(iter(trained.batches.splits)))) as batches:
            held_out = list(batches)
    images = [part for part, _ in held_out]
    if "responses" in what:
        write_table(folder / "responses.csv", layer_responses(net, images), Response)
    if "signals" in what:
        rows = layer_stats_rows(dict(sorted(_signals(trained).items())))
        write_table(folder / "signals.csv", rows, LayerStatsRow)
    if "residuals" in what:
        write_table(folder / "residuals.csv", block_sizes(net, images), BlockSizes)
    if "lesions" in what:
        lesions = list(_lesions(trained, held_out, options, report))
        write_table(folder / "lesions.csv", lesions, LesionRow)


def _check_branches(trained: Trained) -> None:
    called = called_methods(trained.net, trained.config.data.image_size)
    for name, block in trained.net.blocks().items():
        if block.residual and "branch" not in called[name]:
            raise ConfigError(
                f"what=residuals and lesions need F(x), but {trained.config.block} computes it "
                "inside of forward: call self.branch(x) in forward, or give "
                "'what=[responses,signals]'"
            )


def _signals(trained: Trained) -> LayerStatsLog:
    """With the initial weights if they are known, as recorded in training, and at the end."""
    config = trained.config
    with closing(trained.batches.training(0, 1)) as training:
        images, labels = next(training)
    recorded = read_layer_stats(trained.folder).items()
    signals = {iteration: at for iteration, at in recorded if iteration < trained.iteration}
    if 0 not in signals and config.weights is None and config.extends is None:
        untrained = make_net(config, trained.batches.num_classes).to(images.device)
        untrained.to(memory_format=torch.channels_last)
        signals[0] = layer_stats(untrained, images, labels)
    signals[trained.iteration] = layer_stats(trained.net, images, labels)
    return signals


def _lesions(
    trained: Trained, held_out: list[Batch], options: InspectionConfig, report: ReportProgress
) -> Iterator[LesionRow]:
    """The error of the whole net, without single blocks, and without several random blocks."""
    net = trained.net
    error = _error_on(net, held_out)
    positions = {name: number for number, name in enumerate(net.blocks(), 1)}
    candidates = removable(net)
    singles = [candidates[i] for i in evenly_spaced(len(candidates), options.max_blocks).tolist()]
    num_random = len(keeping_shape(net))
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64, 128, 256) if count <= num_random]
    num_steps = len(singles) + len(counts)
    yield LesionRow(0, 0, len(positions), "", error())
    for step, name in enumerate(singles, 1):
        yield LesionRow(1, positions[name], len(positions), name, error_without(net, [name], error))
        report("lesions", step, num_steps)
    for step, count in enumerate(counts, len(singles) + 1):
        for names in random_blocks(net, count, options.draws, trained.config.seed):
            row = (count, 0, len(positions), " ".join(names))
            yield LesionRow(*row, error_without(net, names, error))
        report("lesions", step, num_steps)


def _error_on(net: torch.nn.Module, batches: list[Batch]) -> Callable[[], float]:
    """A function that measures the net's error in percent on these images."""

    @torch.no_grad()
    def error() -> float:
        wrong = [(net(images).argmax(dim=1) != labels).sum() for images, labels in batches]
        return 100 * int(torch.stack(wrong).sum()) / sum(len(labels) for _, labels in batches)

    return error
