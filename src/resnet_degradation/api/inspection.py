"""Inspections: measurements that explain the errors of trained nets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import OmegaConf

from resnet_degradation.api.calls import as_command, composed, overrides_of
from resnet_degradation.api.run import Run, folders_of
from resnet_degradation.cli.app import shown_progress
from resnet_degradation.cli.compose import own_hydra
from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from resnet_degradation.figures.seeds import NetRows
    from resnet_degradation.inspection.probe import Finding, Probe


@dataclass(frozen=True)
class Inspection:
    """The results of an inspection. The report is in `folder`, the tables in the run folders."""

    folder: Path
    findings: "dict[str, Finding]"  # a title, a sentence and a table, by the measurement's name
    measured: "dict[str, tuple[Probe, list[NetRows]]]"

    def __repr__(self) -> str:
        sentences = [f"{name}: {found.sentence}" for name, found in self.findings.items()]
        return "\n".join([f"<report in {self.folder}>", *sentences])

    def plot(self, name: str | None = None) -> "Figure":
        """The figure of a measurement, by default of the first.

        Raises UserError if there is none.
        """
        from resnet_degradation.figures.style import for_notebook

        if not self.measured:
            raise UserError("nothing was measured: plain nets have no shortcuts")
        name = name or next(iter(self.measured))
        if name not in self.measured:
            raise UserError(f"{name} was not measured: choose from {', '.join(self.measured)}")
        probe, nets = self.measured[name]
        return for_notebook(probe.make_figure(nets, self.findings[name].title))


@as_command(InspectionConfig)
def inspect(
    runs: "Run | str | Path | Sequence[Run | str | Path]",
    what: str | Sequence[str] | None = None,
    overrides: str | Sequence[str] = (),
    *,
    quiet: bool = False,
    **settings: Any,
) -> Inspection:
    """Measure the nets of runs, or of all runs in folders, as `resnet-inspect` does.

        rd.inspect([plain, residual], what=["signals", "lesions"]).plot("lesions")

    what: responses, signals, residuals, lesions (these four by default), surface, shattering,
    sharpness; all; or a custom probe, such as my_probes:small_weights. The other
    arguments and the errors are those of `rd.train`; `resnet-inspect --help` lists the settings.
    """
    from resnet_degradation.inspection.command import inspect as run_inspection

    asked: dict[str, Any] = {"run": folders_of(runs)} | ({} if what is None else {"what": what})
    arguments = overrides_of(overrides, asked | settings, InspectionConfig)
    with own_hydra():
        options = composed("inspect_config", InspectionConfig, arguments)
    wanted = cast(InspectionConfig, OmegaConf.to_object(options))
    with shown_progress(quiet) as progress:
        return Inspection(*run_inspection(wanted, progress.console, progress))
