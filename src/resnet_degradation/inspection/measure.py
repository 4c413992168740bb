"""Measures trained nets, and writes the tables to their run folders."""

from pathlib import Path

from resnet_degradation.config.identity import run_name
from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.console.progress import Progress
from resnet_degradation.inspection.probe import Probe, Subject
from resnet_degradation.nets.overrides import called_methods
from resnet_degradation.records.layers import write_inspection
from resnet_degradation.system.atomic_files import check_writable
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.training.build import choose_device
from resnet_degradation.training.load_run import TrainedNet, load_run_config, load_trained_net
from resnet_degradation.training.torch_settings import restore_settings, set_arithmetic


def measure_runs(
    folders: list[Path], probes: dict[str, Probe], options: InspectionConfig, progress: Progress
) -> dict[Path, int]:
    """Measure runs with these probes, and write the tables to inspection/ in each run folder.

    Returns the iteration of each run's checkpoint. Raises ConfigError if a probe needs F(x), but a
    custom block does not compute it in `branch`.
    """
    iterations: dict[Path, int] = {}
    with restore_settings():
        set_arithmetic("fp32")
        device = choose_device(load_run_config(folders[0], options.runtime))
        for number, folder in enumerate(folders, 1):
            trained = load_trained_net(
                folder, options.runtime, device, options.images, progress.show_preparation
            )
            iterations[folder] = trained.iteration
            counter = f" [{number}/{len(folders)}]" if len(folders) > 1 else ""
            name = run_name(trained.config)
            progress.say(f"{name} after {trained.iteration:,} iterations{counter}")
            _check_run(trained, probes)
            subject = Subject(trained, options, progress.show_preparation)
            for name, probe in probes.items():
                write_inspection(folder, name, probe.measure(subject), probe.row)
            progress.end()
    return iterations


def _check_run(trained: TrainedNet, probes: dict[str, Probe]) -> None:
    if any(probe.needs_branch for probe in probes.values()) and trained.net.has_custom_blocks:
        _check_branches(trained)
    problem = f"the tables of an inspection cannot be written to {trained.folder}"
    advice = "copy the folder, and inspect the copy"
    check_writable(trained.folder / "inspection", problem, advice)


def _check_branches(trained: TrainedNet) -> None:
    called = called_methods(trained.net, trained.config.data.image_size)
    for name, block in trained.net.blocks().items():
        if block.residual and "branch" not in called[name]:
            raise ConfigError(
                f"the probes 'residuals' and 'lesions' need F(x), but {trained.config.block} "
                "computes it inside forward: call self.branch(x) in forward, or set "
                "'what=[responses,signals]'"
            )
