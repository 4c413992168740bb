"""Trains, loads, tests and plots single runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_degradation.api.calls import build_overrides, compose_command, translate_errors
from resnet_degradation.api.table import Table
from resnet_degradation.cli.app import show_progress
from resnet_degradation.cli.compose import isolated_hydra, resolve_composed
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
    """A run, represented by its folder. Attributes are read from its files at every access.

    Raises UserError if a file is missing or damaged.
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
        """The columns of metrics.csv as arrays; errors are in percent."""
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
        """Load the net with the weights of the last checkpoint, in evaluation mode, on the CPU."""
        import torch

        from resnet_degradation.training.load_run import load_net

        with torch.random.fork_rng(devices=[]):
            return load_net(self.folder)

    def plot(self, **drawing: Any) -> "Figure":
        """Plot training and held-out error against iterations; for `drawing`, see `rd.plot`."""
        return plot([self], **drawing)


def load(folder: str | Path) -> Run:
    """Load a run, finished or not, from its folder; raises UserError for other folders."""
    path = Path(expand_home(str(folder)))
    if (path / "study.json").is_file():
        runs = find_runs(path)
        raise UserError(f"{folder} is a study of {len(runs)} runs: load one, such as {runs[0]}")
    read_config(path)
    read_metrics(path)
    return Run(path)


@translate_errors(Config, resumes=True)
def train(overrides: str | Sequence[str] = (), *, quiet: bool = False, **settings: Any) -> Run:
    """Train a net like `resnet-train`, with the same settings, folder and record.

    An interrupted run resumes from its last checkpoint; a finished run is only read. Settings are
    keyword arguments, with a dictionary for each section. Other settings have the defaults of the
    command (`resnet-train --help`):

        rd.train(depth=56, residual=False, seed=1, data="cifar10", recipe=dict(iterations=4000))
        rd.train(depth=20, data=dict(name="folder", root="~/images"))
        rd.train(["recipe.lr=0.03", "runtime.num_threads=1"], depth=20)

    overrides: more settings, as on the command line; they take precedence.
    quiet: print nothing.

    Raises UserError for errors that the user can fix. After Ctrl-C, saves the run and raises
    KeyboardInterrupt; the same call then resumes it.

    The call leaves signal handlers, the number of threads, cuDNN's settings and torch's random
    state on the CPU unchanged, and does not use the random states of numpy and Python. (With a
    custom block, it seeds torch's generator on the GPU again.)
    """
    arguments = build_overrides(overrides, settings, Config)
    with isolated_hydra():
        config = resolve_composed(compose_command("config", Config, arguments))
    from resnet_degradation.console.progress import NullProgress
    from resnet_degradation.training.launch import train_on_devices

    with show_progress(quiet) as progress:
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
    width: float | str | None = None,
) -> "Figure":
    """Plot training (thin) and held-out errors (bold) of runs, or of all runs in folders.

    Runs that differ only in the seed are averaged. Notebooks display the figure.

    x: iteration, epoch or seconds. errors: both, training or held-out.
    together: draw plain and residual nets in one panel. smooth: how many rows each point of a
    training curve averages. log: use a logarithmic error axis. dashed: draw training errors dashed.
    y_max: upper end of the error axis.
    width: in inches, or column or text, for a paper: with smaller text, and without title and
    caption.

    Raises UserError if there is nothing to draw.
    """
    from resnet_degradation.figures.curves import load_curves, plot_curves
    from resnet_degradation.figures.drawing import Drawing, adjust_drawing
    from resnet_degradation.figures.style import prepare_for_notebook

    drawing = adjust_drawing(
        Drawing(), title=title, x=x, errors=errors, together=together, smooth=smooth, log=log,
        dashed=dashed, y_max=y_max, width=width,
    )  # fmt: skip
    nets = load_curves(drop_duplicate_runs(find_run_folders(runs)), drawing.x, drawing.smooth)
    return prepare_for_notebook(plot_curves(nets, drawing))


def find_run_folders(runs: "Run | str | Path | Sequence[Run | str | Path]") -> list[Path]:
    """Return the folders of runs, and of all runs below other folders.

    Raises UserError if an argument is neither a run nor a path, or if a folder has no runs.
    """
    several = [runs] if isinstance(runs, Run | str | Path) else runs
    if not isinstance(several, Sequence) or not all(
        isinstance(run, Run | str | Path) for run in several
    ):
        raise UserError(f"{runs!r} is not a run: use folders, or results of rd.train or rd.load")
    return [
        folder
        for run in several
        for folder in (
            [run.folder] if isinstance(run, Run) else find_runs(Path(expand_home(str(run))))
        )
    ]


@translate_errors(EvaluationConfig)
def evaluate(
    run: Run | str | Path,
    overrides: str | Sequence[str] = (),
    *,
    quiet: bool = False,
    **settings: Any,
) -> dict[str, dict[int, float]]:
    """Test a run's net like `resnet-eval`; return top-k errors in percent, by split and k.

        rd.evaluate(run, protocol="ten-crop")["val"][1]
        rd.evaluate(run, protocol="none", export="net.safetensors")

    The other arguments and the exceptions are the same as for `rd.train`. `resnet-eval --help`
    lists the settings.
    """
    folder = run.folder if isinstance(run, Run) else run
    arguments = build_overrides(overrides, {"run": folder, **settings}, EvaluationConfig)
    from resnet_degradation.evaluation import command
    from resnet_degradation.evaluation.options import resolve_evaluation

    with isolated_hydra():
        composed = compose_command("eval_config", EvaluationConfig, arguments)
        evaluation = resolve_evaluation(composed, arguments)
    with show_progress(quiet) as progress:
        results = command.evaluate(evaluation, progress.console, progress)
    return {result.split: result.errors for result in results}
