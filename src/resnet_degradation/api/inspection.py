"""Measures trained nets to explain their errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import OmegaConf

from resnet_degradation.api.calls import build_overrides, compose_command, translate_errors
from resnet_degradation.api.run import Run, find_run_folders
from resnet_degradation.cli.app import show_progress
from resnet_degradation.cli.compose import isolated_hydra
from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from resnet_degradation.figures.seeds import NetRows
    from resnet_degradation.inspection.probe import Finding, Probe


@dataclass(frozen=True)
class Inspection:
    """Results of an inspection. The report is in `folder`, the tables are in the run folders."""

    folder: Path
    findings: "dict[str, Finding]"  # title, sentence and table of each measurement
    measured: "dict[str, tuple[Probe, list[NetRows]]]"

    def __repr__(self) -> str:
        sentences = [f"{name}: {found.sentence}" for name, found in self.findings.items()]
        return "\n".join([f"<report in {self.folder}>", *sentences])

    def plot(self, name: str | None = None) -> "Figure":
        """Draw the figure of a measurement, by default of the first.

        Raises UserError if the measurement does not exist.
        """
        from resnet_degradation.figures.style import prepare_for_notebook

        if not self.measured:
            raise UserError("nothing was measured: plain nets have no shortcuts")
        name = name or next(iter(self.measured))
        if name not in self.measured:
            raise UserError(f"{name} was not measured: choose from {', '.join(self.measured)}")
        probe, nets = self.measured[name]
        return prepare_for_notebook(probe.make_figure(nets, self.findings[name].title))


@translate_errors(InspectionConfig)
def inspect(
    runs: "Run | str | Path | Sequence[Run | str | Path]",
    what: str | Sequence[str] | None = None,
    overrides: str | Sequence[str] = (),
    *,
    quiet: bool = False,
    **settings: Any,
) -> Inspection:
    """Measure the nets of runs, or of all runs in folders, like `resnet-inspect`.

        rd.inspect([plain, residual], what=["signals", "lesions"]).plot("lesions")

    what: responses, signals, residuals, lesions (these four by default), surface, shattering,
    sharpness; all; or a custom probe, such as my_probes:small_weights. The other arguments and the
    exceptions are the same as for `rd.train`. `resnet-inspect --help` lists the settings.
    """
    from resnet_degradation.inspection.command import inspect as run_inspection

    targets: dict[str, Any] = {"run": find_run_folders(runs)} | (
        {} if what is None else {"what": what}
    )
    arguments = build_overrides(overrides, targets | settings, InspectionConfig)
    with isolated_hydra():
        composed = compose_command("inspect_config", InspectionConfig, arguments)
    options = cast(InspectionConfig, OmegaConf.to_object(composed))
    with show_progress(quiet) as progress:
        return Inspection(*run_inspection(options, progress.console, progress))
