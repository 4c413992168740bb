"""One run: train it, load it, test it, look at its record."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_degradation.api.calls import as_command, composed, overrides_of
from resnet_degradation.api.table import Table
from resnet_degradation.cli.app import shown_progress
from resnet_degradation.cli.compose import own_hydra, resolve_composed
from resnet_degradation.config.identity import run_name
from resnet_degradation.config.resolve import expand_home
from resnet_degradation.config.schema import Config, EvaluationConfig
from resnet_degradation.records.metrics import COLUMNS, read_metrics
from resnet_degradation.records.run_folder import drop_duplicate_runs, find_runs, read_config
from resnet_degradation.records.summary import (
    FinalErrors,
    is_finished,
    read_final_errors,
    read_summary,
)
from resnet_degradation.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from resnet_degradation.nets.resnet import ResNet


@dataclass(frozen=True)
class Run:
    """A run, represented by its folder. Attributes are read from the folder at every access.

    Raises UserError for a file that is missing or damaged.
    """

    folder: Path

    def __repr__(self) -> str:
        try:
            state = str(self.errors) if is_finished(self.folder) else "not finished"
            return f"<{run_name(self.config)}: {state}, in {self.folder}>"
        except UserError as error:  # the folder may be gone
            return f"<{error}>"

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return read_config(self.folder)

    @property
    def metrics(self) -> Table:
        """The columns of metrics.csv as arrays, one entry per row; errors in percent."""
        rows = read_metrics(self.folder)
        return Table({name: [getattr(row, name) for row in rows] for name in COLUMNS})

    @property
    def errors(self) -> FinalErrors:
        """The final errors of a finished run, in percent: train_error, val_error, test_error."""
        return read_final_errors(self.folder)

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json: sizes, times, versions and hardware of a finished run."""
        return read_summary(self.folder)

    def net(self) -> "ResNet":
        """The net with the weights of the last checkpoint, in evaluation mode, on the CPU."""
        import torch

        from resnet_degradation.training.load_run import load_net

        with torch.random.fork_rng(devices=[]):
            return load_net(self.folder)

    def plot(self, **drawing: Any) -> "Figure":
        """Training and held-out error against iterations; for `drawing` see `rd.plot`."""
        return plot([self], **drawing)


def load(folder: str | Path) -> Run:
    """The run in a folder, finished or not; raises UserError if it is not a run's folder."""
    path = Path(expand_home(str(folder)))
    if (path / "study.json").is_file():
        runs = find_runs(path)
        raise UserError(f"{folder} is a study of {len(runs)} runs: load one, such as {runs[0]}")
    read_config(path)
    read_metrics(path)
    return Run(path)


@as_command(Config)
def train(overrides: str | Sequence[str] = (), *, quiet: bool = False, **settings: Any) -> Run:
    """Train a net to its end, as `resnet-train` does: the same settings, folder and record.

    An interrupted run resumes from its last checkpoint, a finished one is only read. Settings are
    keyword arguments, with a dictionary for each section; settings that are not given have the
    command's defaults (`resnet-train --help`):

        rd.train(depth=56, residual=False, seed=1, data="cifar10", recipe=dict(iterations=4000))
        rd.train(depth=20, data=dict(name="folder", root="~/images"))
        rd.train(["recipe.lr=0.03", "runtime.num_threads=1"], depth=20)

    overrides: more settings, written as for the command; they come last.
    quiet: print nothing.

    Raises UserError for what the user can fix, and KeyboardInterrupt after Ctrl-C, when the run is
    saved: the same call resumes it.

    After the call, signal handlers, the number of threads, cuDNN's settings and torch's random
    state on the CPU are the same as before; numpy's and Python's random states are not used. (With
    a custom block, torch's generator on a GPU is seeded again.)
    """
    arguments = overrides_of(overrides, settings, Config)
    with own_hydra():
        config = resolve_composed(composed("config", Config, arguments))
    from resnet_degradation.console.progress import NullProgress
    from resnet_degradation.training.launch import train_on_devices

    with shown_progress(quiet) as progress:
        return Run(train_on_devices(config, NullProgress() if quiet else progress))


def plot(
    runs: "Run | str | Path | Sequence[Run | str | Path]",
    *,
    title: str | None = None,
    x: str | None = None,
    errors: str | None = None,
    together: bool = False,
    smooth: int | None = None,
    log: bool | None = None,
    dashed: bool | None = None,
    y_max: float | None = None,
    width: float | None = None,
) -> "Figure":
    """Training (thin) and held-out error (bold) of runs, or of all runs in folders.

    Runs that differ in the seed alone are averaged. A notebook shows the figure.

    x: iteration, epoch or seconds. errors: both, training or held-out.
    together: plain and residual nets in one panel. smooth: how many rows a point of a training
    curve averages. log: logarithmic error axis. dashed: training error dashed. y_max: upper end of
    the error axis.
    width: in inches, for a paper: smaller text, and neither title nor caption.

    Raises UserError if there is nothing to draw.
    """
    from resnet_degradation.figures.curves import load_curves, plot_curves
    from resnet_degradation.figures.drawing import Drawing, adjusted
    from resnet_degradation.figures.style import for_notebook

    drawing = adjusted(
        Drawing(), title=title, x=x, errors=errors, together=together, smooth=smooth, log=log,
        dashed=dashed, y_max=y_max, width=width,
    )  # fmt: skip
    nets = load_curves(drop_duplicate_runs(folders_of(runs)), drawing.x, drawing.smooth)
    return for_notebook(plot_curves(nets, drawing))


def folders_of(runs: "Run | str | Path | Sequence[Run | str | Path]") -> list[Path]:
    """The folders of runs, and those below folders of studies; raises UserError for others."""
    several = [runs] if isinstance(runs, Run | str | Path) else runs
    if not isinstance(several, Sequence) or not all(
        isinstance(run, Run | str | Path) for run in several
    ):
        raise UserError(f"{runs!r} is no run: name folders, or what rd.train and rd.load return")
    return [
        folder
        for run in several
        for folder in (
            [run.folder] if isinstance(run, Run) else find_runs(Path(expand_home(str(run))))
        )
    ]


@as_command(EvaluationConfig)
def evaluate(
    run: Run | str | Path,
    overrides: str | Sequence[str] = (),
    *,
    quiet: bool = False,
    **settings: Any,
) -> dict[str, dict[int, float]]:
    """Test a run's net, as `resnet-eval` does; top-k errors in percent, by split and by k.

        rd.evaluate(run, protocol="ten-crop")["val"][1]
        rd.evaluate(run, protocol="none", export="net.safetensors")

    The other arguments and the errors are those of `rd.train`; `resnet-eval --help` lists the
    settings.
    """
    folder = run.folder if isinstance(run, Run) else run
    arguments = overrides_of(overrides, {"run": folder, **settings}, EvaluationConfig)
    from resnet_degradation.evaluation import command
    from resnet_degradation.evaluation.options import resolve_evaluation

    with own_hydra():
        options = composed("eval_config", EvaluationConfig, arguments)
        evaluation = resolve_evaluation(options, arguments)
    with shown_progress(quiet) as progress:
        tested = command.evaluate(evaluation, progress.console, progress)
    return {result.split: result.errors for result in tested}
