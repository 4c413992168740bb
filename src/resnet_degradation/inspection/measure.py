"""Measures trained nets and writes the tables into their run folders."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch

from resnet_degradation.config.identity import run_name
from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.console.progress import Progress, ReportProgress
from resnet_degradation.data.batches import Batch
from resnet_degradation.data.dataset import evenly_spaced
from resnet_degradation.nets.build import make_net
from resnet_degradation.nets.overrides import called_methods
from resnet_degradation.probes.layer_stats import layer_stats
from resnet_degradation.probes.lesions import error_without, keeping_shape, random_blocks, removable
from resnet_degradation.probes.residual_norms import residual_norms
from resnet_degradation.probes.responses import layer_responses
from resnet_degradation.records.layers import (
    LayerStats,
    LesionRow,
    read_layer_stats,
    write_inspection,
)
from resnet_degradation.system.atomic_files import check_writable
from resnet_degradation.system.errors import ConfigError, RecordError
from resnet_degradation.training.build import choose_device
from resnet_degradation.training.load_run import Trained, config_of_run, load_trained
from resnet_degradation.training.memory import restore_settings, set_precision


def measure_runs(
    folders: list[Path], options: InspectionConfig, progress: Progress
) -> dict[Path, int]:
    """Write the tables that `options.what` lists to inspection/ in each of these run folders.

    Returns the iteration of each run's checkpoint. Raises ConfigError if the tables need F(x) and a
    custom block does not compute it in `branch`.
    """
    iterations: dict[Path, int] = {}
    with restore_settings():
        set_precision("fp32")
        device = choose_device(config_of_run(folders[0], options.runtime))
        for number, folder in enumerate(folders, 1):
            trained = load_trained(
                folder, options.runtime, device, options.images, progress.prepare
            )
            iterations[folder] = trained.iteration
            count = f" [{number}/{len(folders)}]" if len(folders) > 1 else ""
            when = f"after {trained.iteration:,} iterations{count}"
            progress.say(f"{run_name(trained.config)} {when}")
            _measure(trained, options, progress.prepare)
            progress.end()
    return iterations


def _measure(trained: Trained, options: InspectionConfig, report: ReportProgress) -> None:
    folder, net = trained.folder, trained.net
    if {"residuals", "lesions"} & set(options.what) and net.has_custom_blocks:
        _check_branches(trained)
    try:
        check_writable(folder / "inspection")
    except OSError as error:
        raise RecordError(
            f"the tables of an inspection cannot be written to {folder} ({error.strerror}): copy "
            "the folder, and inspect the copy"
        ) from error
    held_out: list[Batch] = []  # of the first held-out split
    if set(options.what) - {"signals"}:
        with closing(trained.batches.held_out(next(iter(trained.batches.splits)))) as batches:
            held_out = list(batches)
    images = [part for part, _ in held_out]
    tables: dict[str, Callable[[], Sequence[object]]] = {
        "responses": lambda: layer_responses(net, images),
        "signals": lambda: _signals(trained),
        "residuals": lambda: residual_norms(net, images),
        "lesions": lambda: list(_lesions(trained, held_out, options, report)),
    }
    for what, rows in tables.items():
        if what in options.what:
            write_inspection(folder, what, rows())


def _check_branches(trained: Trained) -> None:
    called = called_methods(trained.net, trained.config.data.image_size)
    for name, block in trained.net.blocks().items():
        if block.residual and "branch" not in called[name]:
            raise ConfigError(
                f"what=residuals and lesions need F(x), but {trained.config.block} computes it "
                "inside of forward: call self.branch(x) in forward, or give "
                "'what=[responses,signals]'"
            )


def _signals(trained: Trained) -> list[LayerStats]:
    """With the initial weights if they are known, as recorded in training, and at the end."""
    config = trained.config
    with closing(trained.batches.training(0, 1)) as training:
        images, labels = next(training)
    recorded = read_layer_stats(trained.folder).items()
    signals = {iteration: at for iteration, at in recorded if iteration < trained.iteration}
    if 0 not in signals and config.weights is None and config.extends is None:
        untrained = make_net(config, trained.batches.num_classes).to(images.device)
        untrained.to(memory_format=torch.channels_last)
        signals[0] = layer_stats(untrained, images, labels, 0)
    signals[trained.iteration] = layer_stats(trained.net, images, labels, trained.iteration)
    return [row for _, rows in sorted(signals.items()) for row in rows]


def _lesions(
    trained: Trained, held_out: list[Batch], options: InspectionConfig, report: ReportProgress
) -> Iterator[LesionRow]:
    """The error of the whole net, without single blocks, and without several random blocks."""
    net = trained.net

    @torch.no_grad()
    def error() -> float:
        wrong = [(net(images).argmax(dim=1) != labels).sum() for images, labels in held_out]
        return 100 * int(torch.stack(wrong).sum()) / sum(len(labels) for _, labels in held_out)

    positions = {name: number for number, name in enumerate(net.blocks(), 1)}
    candidates = removable(net)
    singles = [candidates[i] for i in evenly_spaced(len(candidates), options.max_blocks).tolist()]
    num_random = len(keeping_shape(net))
    counts = [2**power for power in range(9) if 2**power <= num_random]
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
