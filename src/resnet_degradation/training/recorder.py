"""What a run leaves behind: see runs.py for the files, and how they are read."""

import csv
import json
import os
import platform
import subprocess
import threading
import time
from dataclasses import asdict
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any

import hydra
import numpy
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

import resnet_degradation
from resnet_degradation.config.identity import data_name, identity_settings, literal, net_name
from resnet_degradation.config.schema import Config
from resnet_degradation.nets.build import num_parameters
from resnet_degradation.records.layers import (
    LayerStats,
    LayerStatsLog,
    Response,
    read_layer_stats,
    write_layer_stats,
    write_responses,
)
from resnet_degradation.records.metrics import Row, as_recorded, format_row, write_metrics
from resnet_degradation.records.run_folder import write_classes
from resnet_degradation.records.summary import FinalErrors
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.encoding import as_text
from resnet_degradation.system.process import describe_threads
from resnet_degradation.training.state import Run

# TensorBoard's names for the columns of metrics.csv that it shows.
SCALARS = {
    "error/train": "train_error",
    "error/val": "val_error",
    "error/test": "test_error",
    "loss/train": "train_loss",
    "learning_rate": "lr",
    "images_per_second": "images_per_second",
}


class Rows:
    """The record of a run in memory, for a process that writes nothing."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def last_iteration(self) -> int:
        """The iteration of the last row, 0 before the first."""
        return self.rows[-1].iteration if self.rows else 0

    def add(self, row: Row) -> None:
        """Append one row."""
        # As it is written: so that a resumed run, which reads its rows back, has the same.
        self.rows.append(as_recorded(row))

    def add_images(self, images: Tensor) -> None:
        """Show some images (N, 3, H, W) in [0, 1] as the net is given them."""

    def add_scalars(self, iteration: int, values: dict[str, float]) -> None:
        """Show numbers that are no part of the record."""

    def add_layer_stats(self, iteration: int, signals: list[LayerStats]) -> None:
        """Append what passes through the layers after so many iterations."""

    def write_image_notes(self, classes: list[str], skipped: list[tuple[str, str]]) -> None:
        """Write down which classes there are, and which images were left out and why."""

    def write_json(self, name: str, facts: dict[str, Any]) -> None:
        """Write down something else about the run in a JSON file of this name."""

    def finish(
        self, final: FinalErrors, responses: list[Response], summary: dict[str, Any]
    ) -> None:
        """The run is finished."""

    def close(self) -> None:
        """Close the files; the run can be resumed."""


class Recorder(Rows):
    """Writes the record of one run, from its rows so far on.

    metrics.csv is the record. It is written anew from the rows that the checkpoint holds, so
    neither what was recorded after it nor any damage to the file is left. TensorBoard's events are
    a view of the record, and are written anew too: no point is doubled, whenever the run was
    interrupted.
    """

    def __init__(self, folder: Path, config: Config, rows: list[Row]) -> None:
        super().__init__(rows)
        self.folder = folder
        self.config = config
        folder.mkdir(parents=True, exist_ok=True)
        configuration = OmegaConf.to_yaml(OmegaConf.create(literal(asdict(config))))
        with atomic_write(folder / "config.yaml") as stream:
            stream.write(configuration)
        write_metrics(folder, rows)
        self._stream = (folder / "metrics.csv").open("a", newline="", encoding="utf-8")
        self._csv = csv.writer(self._stream, lineterminator="\n")
        for stale in [*folder.glob("events.out.tfevents.*"), *folder.rglob("*.tmp")]:
            stale.unlink()
        self._signals: LayerStatsLog = {}
        self._began = time.time() - (rows[-1].seconds if rows else 0)
        self._hook, threading.excepthook = threading.excepthook, _hush_events
        # A TensorBoard that is looking on forgets what it was shown before.
        self._tensorboard = SummaryWriter(str(folder), purge_step=0)
        self._tensorboard.add_text("configuration", f"```yaml\n{configuration}```", 0)
        for row in rows:
            self._show(row)

    def add(self, row: Row) -> None:
        """Append one row, visible at once to whoever reads the file."""
        super().add(row)
        self._csv.writerow(format_row(self.rows[-1]))
        self._stream.flush()
        self._show(self.rows[-1])

    def add_images(self, images: Tensor) -> None:
        """Show some images (N, 3, H, W) in [0, 1] as the net is given them."""
        with_edges = F.pad(images, (1, 1, 1, 1))  # they are put side by side
        self._tensorboard.add_images("training images", with_edges, 0)

    def add_scalars(self, iteration: int, values: dict[str, float]) -> None:
        """Show numbers that are no part of the record."""
        for tag, value in values.items():
            self._tensorboard.add_scalar(tag, value, iteration)

    def add_layer_stats(self, iteration: int, signals: list[LayerStats]) -> None:
        """Append what passes through the layers after so many iterations."""
        if not self._signals:
            self._signals = {
                at: of_layers
                for at, of_layers in read_layer_stats(self.folder).items()
                if at < iteration
            }
            for at, of_layers in self._signals.items():
                self._show_signals(at, of_layers)
        self._signals[iteration] = signals
        write_layer_stats(self.folder, self._signals)
        self._show_signals(iteration, signals)

    def _show_signals(self, iteration: int, signals: list[LayerStats]) -> None:
        for signal in signals:
            layer = f"{signal.layer:03d}_{signal.name}"
            for tag in ("signal_std", "gradient_norm"):
                self._tensorboard.add_scalar(f"{tag}/{layer}", getattr(signal, tag), iteration)

    def write_image_notes(self, classes: list[str], skipped: list[tuple[str, str]]) -> None:
        """Write down which classes there are, and which images were left out and why."""
        write_classes(self.folder, classes)
        file = self.folder / "skipped.csv"
        if not skipped:
            file.unlink(missing_ok=True)  # of images that were mended since
            return
        with atomic_write(file) as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["split", "image"])
            writer.writerows(skipped)

    def write_json(self, name: str, facts: dict[str, Any]) -> None:
        """Write down something else about the run in a JSON file of this name."""
        with atomic_write(self.folder / name) as stream:
            json.dump(facts, stream, indent=2)
            stream.write("\n")

    def finish(
        self, final: FinalErrors, responses: list[Response], summary: dict[str, Any]
    ) -> None:
        """Write responses, TensorBoard's hparams, and last the summary, which says: finished."""
        write_responses(self.folder, responses)
        errors = {f"final/{n}": e for n, e in final.in_percent().items() if e is not None}
        for tag, error in errors.items():
            self._tensorboard.add_scalar(tag, error, self.last_iteration())
        writer = self._tensorboard.file_writer
        assert writer is not None
        for part in hparams(_hparams(self.config), errors):
            writer.add_summary(part)
        os.fsync(self._stream.fileno())
        self.close()
        self.write_json("summary.json", summary)

    def close(self) -> None:
        """Close the files; the run can be resumed."""
        try:
            self._tensorboard.close()
            self._stream.close()
        finally:
            threading.excepthook = self._hook

    def _show(self, row: Row) -> None:
        when = self._began + row.seconds
        for tag, column in SCALARS.items():
            if (value := getattr(row, column)) is not None:
                self._tensorboard.add_scalar(tag, value, row.iteration, walltime=when)


def _hush_events(raised: threading.ExceptHookArgs) -> None:
    """Do not print what the thread that writes events raises: the next call raises it again."""
    if not type(raised.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(raised)


def _hparams(config: Config) -> dict[str, Any]:
    """The settings that tell runs apart, as TensorBoard's hparams table wants them."""
    keys = ["depth", "residual", "shortcut", "seed", "recipe.lr", "recipe.iterations"]
    keys += [key for key in identity_settings(config) if key != "data.name"]  # it is "data" below
    values = {key: attrgetter(key)(config) for key in dict.fromkeys(keys)}
    return {"net": net_name(config), "data": data_name(config)} | {
        key: value if isinstance(value, bool | int | float) else as_text(str(value))
        for key, value in values.items()
    }


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, hardware and git revision, for the summary."""
    return {
        "versions": {
            "python": platform.python_version(),
            "resnet-degradation": resnet_degradation.__version__,
            "torch": torch.__version__,
            "torchvision": version("torchvision"),  # which takes a second to load
            "hydra-core": hydra.__version__,
            "numpy": numpy.__version__,
        },
        "hardware": {
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "cpu": _cpu_name(),
            "num_cpus": os.cpu_count(),
            "num_threads": torch.get_num_threads(),
        },
        "git_revision": _git_revision(),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git_revision() -> str | None:
    """The revision of the source that runs, or None where it is not run from a checkout."""
    source = Path(__file__).resolve().parents[3]
    if not (source / ".git").exists():
        return None
    # Git hooks and wrappers of git name another repository in variables such as GIT_DIR. In
    # containers the checkout is often another user's; nothing of it is run that does not run yet.
    variables = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    command = ["git", "-C", str(source), "-c", f"safe.directory={source}"]
    command += ["describe", "--always", "--dirty", "--abbrev=12"]
    try:
        described = subprocess.run(command, capture_output=True, env=variables, check=False)
    except OSError:
        return None  # no git here
    return described.stdout.decode(errors="replace").strip() or None


def describe(run: Run) -> str:
    """What is going to be run, in a few lines."""
    config, plan, size = run.config, run.plan, run.config.data.image_size
    held_out = ", ".join(f"{count:,} {split}" for split, count in run.batches.splits.items())
    on = describe_threads(torch.get_num_threads()) if run.device.type == "cpu" else run.device.type
    if run.world.size > 1:
        on = f"{run.world.size} processes, each on {on}"
    epochs = plan.num_iterations / plan.iterations_per_epoch
    lines = [
        f"{run.name}, {config.family} family: {num_parameters(run.net):,} parameters, "
        f"{run.multiply_adds / 1e6:,.1f} M multiply-adds",
        f"{data_name(config)} {size}x{size}: {run.batches.num_train:,} train, {held_out}",
        f"{plan.num_iterations:,} iterations of {config.recipe.batch_size} "
        f"({epochs:.1f} epochs) on {on}",
        f"in {run.folder}",
    ]
    if config.weights is not None:
        lines.append(f"begun with the weights in {config.weights}")
    if run.layout is not None:
        lines.append(run.layout)
    if run.extension is not None:
        lines.append(str(run.extension))
    if run.skipped:
        lines.append(f"without {len(run.skipped):,} images that cannot be read: see skipped.csv")
    if run.start > 0:
        lines.append(f"resumed after {run.start:,} iterations")
    return "\n".join(lines)


def summary(run: Run, final: FinalErrors) -> dict[str, Any]:
    """What is known of a run at its end; errors in percent, times in seconds."""
    config, plan = run.config, run.plan
    return {
        "net": net_name(config),
        "seed": config.seed,
        "data": data_name(config),
        "num_classes": run.batches.num_classes,
        "num_train_images": run.batches.num_train,
        "num_held_out_images": run.batches.splits,
        "num_skipped_images": len(run.skipped),
        "iterations": plan.num_iterations,
        "epochs": plan.num_iterations / plan.iterations_per_epoch,
        "final_errors_percent": final.in_percent(),
        "final_train_images": final.num_train_images,
        "still_warming_up": run.schedule.state.warming_up,
        "num_parameters": num_parameters(run.net),
        "multiply_adds": run.multiply_adds,
        "seconds": run.clock.seconds(),
        "data_supply": run.throughput.summary(),
        "num_processes": run.world.size,
        "batch_normalization": run.environment["batch normalization"],
        **environment(run.device),
    }
