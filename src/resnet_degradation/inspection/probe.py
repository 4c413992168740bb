"""The interface of a probe: how it measures a run, and how it shows the results of several."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.console.progress import ReportProgress
from resnet_degradation.figures.frame import framed
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.records.csv_tables import column_types

if TYPE_CHECKING:
    from torch import Tensor

    from resnet_degradation.data.batches import Batch
    from resnet_degradation.nets.resnet import ResNet
    from resnet_degradation.training.load_run import TrainedNet

Nets = list[NetRows]


@dataclass(frozen=True)
class Finding:
    """The result of one measurement on several nets: a title, a sentence, and a table."""

    title: str  # of the figure, with the main numbers
    sentence: str
    columns: list[str]  # the first is the name of the net
    rows: list[list[str]]  # a row for each net, or several; a cell for each column


@dataclass(frozen=True)
class Subject:
    """A trained net, and the images on which a probe measures it."""

    trained: "TrainedNet"
    options: InspectionConfig
    report: ReportProgress

    @property
    def net(self) -> "ResNet":
        """The net in evaluation mode. A probe must leave it as it was."""
        return self.trained.net

    @cached_property
    def held_out(self) -> "list[Batch]":
        """Batches of images (N, 3, H, W) with labels (N,): at most `options.images` held-out ones.

        `load_trained_net` has chosen them, evenly spaced in the run's first held-out split.
        """
        batches = self.trained.batches
        with closing(batches.held_out(next(iter(batches.splits)))) as held_out:
            return list(held_out)

    @property
    def images(self) -> "list[Tensor]":
        """The held-out images in batches (N, 3, H, W), without their labels."""
        return [images for images, _ in self.held_out]

    @cached_property
    def initial_net(self) -> "ResNet | None":
        """The net with its initial weights; None if they came from a file or another run."""
        config = self.trained.config
        if config.weights is not None or config.extends is not None:
            return None
        # This loads torch, which is slow, and settings are checked without it.
        from resnet_degradation.nets.build import make_net, on_device

        net = make_net(config, self.trained.batches.num_classes)
        device = next(self.net.parameters()).device
        return on_device(net, device).eval()

    def training_batches(self, count: int) -> "list[Batch]":
        """The first `count` batches of augmented training images (N, 3, H, W) with labels (N,)."""
        with closing(self.trained.batches.training(0, count)) as batches:
            return list(batches)


@dataclass(frozen=True)
class Probe:
    """One measurement of trained nets, chosen by the setting `what` of resnet-inspect.

    row: a dataclass with numbers and strings as fields, the columns of inspection/NAME.csv, where
        NAME is the probe's name in `what`.
    measure: returns the rows of one run.
    find: returns the finding on several nets, each with the rows of every seed; by default the mean
        of each numeric column.
    draw: returns the figure, given these nets and the title; by default with a panel for each
        numeric column, plotted against the row's number.
    needs_branch: whether it calls `branch` and `shortcut` of the blocks.
    about: the definition of the measurement, for the report.
    """

    row: type[Any]
    measure: Callable[[Subject], Sequence[Any]]
    find: Callable[[Nets], Finding] | None = None
    draw: Callable[[Nets, str], Figure] | None = None
    needs_branch: bool = False
    about: str = ""

    def finding(self, nets: Nets, name: str) -> Finding:
        """The finding on these nets; by default the mean of each numeric column."""
        if self.find is not None:
            return self.find(nets)
        columns = numeric_columns(self.row)
        table, texts = [], []
        for net in nets:
            means = [[mean(getattr(r, c) for r in rows) for rows in net.seeds] for c in columns]
            cells = [f"{mean(per_seed):.4g}" + _plus_minus(per_seed) for per_seed in means]
            table.append([net.name, *cells])
            texts.append(f"{net.name} {', '.join(cells)}")
        sentence = f"{' and '.join(columns)}, mean over rows: {'; '.join(texts)}."
        return Finding(name, sentence, ["net", *columns], table)

    def figure(self, nets: Nets, title: str) -> Figure:
        """The figure of these nets."""
        if self.draw is not None:
            return self.draw(nets, title)
        columns = numeric_columns(self.row)
        with framed(nets, title, 1.8 * len(columns)) as (figure, lines):
            panels = figure.subplots(len(columns), 1, squeeze=False)[:, 0]
            for axes, column in zip(panels, columns, strict=True):
                for net, colour in lines:
                    seeds = [[getattr(row, column) for row in rows] for rows in net.seeds]
                    # Seeds may have different numbers of rows: draw those that all have.
                    values = [mean(over_seeds) for over_seeds in zip(*seeds, strict=False)]
                    axes.plot(
                        range(1, len(values) + 1), values, label=net.name, marker=".", color=colour
                    )
                axes.set_ylabel(column)
            panels[-1].set_xlabel("row")
        return figure


def numeric_columns(row: type[Any]) -> list[str]:
    """The columns of a table that have numbers."""
    return [name for name, its_type in column_types(row).items() if its_type in (int, float)]


def _plus_minus(values: list[float]) -> str:
    return f" ± {stdev(values):.2g}" if len(values) > 1 else ""
