"""The interface of a probe: how it measures a run, and how it shows the results of several runs."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.console.progress import ReportProgress
from resnet_degradation.figures.frame import framed_figure
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
    """The summary of a measurement on several nets: a title, a sentence, and a table."""

    title: str  # the title of the figure, with the main numbers
    sentence: str
    columns: list[str]  # the first column has the name of the net
    rows: list[list[str]]  # one or more rows for each net, with a cell for each column


@dataclass(frozen=True)
class Subject:
    """A trained net, and the images on which a probe measures it."""

    trained: "TrainedNet"
    options: InspectionConfig
    report: ReportProgress

    @property
    def net(self) -> "ResNet":
        """The net in evaluation mode. A probe must not change it permanently."""
        return self.trained.net

    @cached_property
    def held_out(self) -> "list[Batch]":
        """Batches of at most `options.images` held-out images (N, 3, H, W) with labels (N,).

        `load_trained_net` chose the images at even distances in the run's first held-out split.
        """
        batches = self.trained.batches
        with closing(batches.held_out(next(iter(batches.splits)))) as held_out:
            return list(held_out)

    @property
    def images(self) -> "list[Tensor]":
        """Batches of the held-out images (N, 3, H, W), without their labels."""
        return [images for images, _ in self.held_out]

    @cached_property
    def initial_net(self) -> "ResNet | None":
        """The net with its initial weights, or None if they came from a file or another run."""
        config = self.trained.config
        if config.weights is not None or config.extends is not None:
            return None
        # Imported here, because it loads torch, which is slow. Checks of settings do not need it.
        from resnet_degradation.nets.build import make_net, move_to_device

        net = make_net(config, self.trained.batches.num_classes)
        device = next(self.net.parameters()).device
        return move_to_device(net, device).eval()

    def training_batches(self, count: int) -> "list[Batch]":
        """Load the first `count` batches of augmented training images, with their labels.

        Images have the shape (N, 3, H, W), and labels the shape (N,).
        """
        with closing(self.trained.batches.training(0, count)) as batches:
            return list(batches)


@dataclass(frozen=True)
class Probe:
    """A measurement of trained nets. The setting `what` of resnet-inspect chooses it by name.

    row: a dataclass of numbers and strings. Its fields are the columns of inspection/NAME.csv,
        where NAME is the probe's name in `what`.
    measure: measures one run, and returns the rows.
    find: makes the finding on several nets, each with the rows of all seeds. The default finding
        has the mean of each numeric column.
    draw: draws the figure of these nets with a title. By default, it has a panel for each numeric
        column, plotted against the row's number.
    needs_branch: whether the probe calls `branch` and `shortcut` of the blocks.
    about: the definition of the measurement, for the report.
    """

    row: type[Any]
    measure: Callable[[Subject], Sequence[Any]]
    find: Callable[[Nets], Finding] | None = None
    draw: Callable[[Nets, str], Figure] | None = None
    needs_branch: bool = False
    about: str = ""

    def make_finding(self, nets: Nets, name: str) -> Finding:
        """Make the finding on these nets with `find` or its default."""
        if self.find is not None:
            return self.find(nets)
        columns = numeric_columns(self.row)
        table, phrases = [], []
        for net in nets:
            means = [[mean(getattr(r, c) for r in rows) for rows in net.seeds] for c in columns]
            cells = [f"{mean(per_seed):.4g}" + _format_deviation(per_seed) for per_seed in means]
            table.append([net.name, *cells])
            phrases.append(f"{net.name} {', '.join(cells)}")
        sentence = f"{' and '.join(columns)}, mean over rows: {'; '.join(phrases)}."
        return Finding(name, sentence, ["net", *columns], table)

    def make_figure(self, nets: Nets, title: str) -> Figure:
        """Draw the figure of these nets with `draw` or its default."""
        if self.draw is not None:
            return self.draw(nets, title)
        columns = numeric_columns(self.row)
        with framed_figure(nets, title, 1.8 * len(columns)) as (figure, lines):
            panels = figure.subplots(len(columns), 1, squeeze=False)[:, 0]
            for axes, column in zip(panels, columns, strict=True):
                for net, colour in lines:
                    per_seed = [[getattr(row, column) for row in rows] for rows in net.seeds]
                    # Seeds may have different numbers of rows: draw the rows that all seeds have.
                    values = [mean(seed_values) for seed_values in zip(*per_seed, strict=False)]
                    axes.plot(
                        range(1, len(values) + 1), values, label=net.name, marker=".", color=colour
                    )
                axes.set_ylabel(column)
            panels[-1].set_xlabel("row")
        return figure


def numeric_columns(row: type[Any]) -> list[str]:
    """The names of a table's numeric columns."""
    types = column_types(row)
    return [name for name, column_type in types.items() if column_type in (int, float)]


def _format_deviation(values: list[float]) -> str:
    return f" ± {stdev(values):.2g}" if len(values) > 1 else ""
