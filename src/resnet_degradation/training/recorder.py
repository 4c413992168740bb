"""Writes the files of a run folder while the run trains (records/ reads them)."""

import csv
import os
import threading
import time
from dataclasses import asdict
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from resnet_degradation.config.identity import (
    data_name,
    escape_interpolation,
    flatten_dict,
    net_name,
)
from resnet_degradation.config.schema import Config
from resnet_degradation.records.csv_tables import format_row
from resnet_degradation.records.layers import (
    LayerStats,
    LayerStatsLog,
    Response,
    read_layer_stats,
    write_layer_stats,
    write_responses,
)
from resnet_degradation.records.metrics import Row, write_metrics
from resnet_degradation.records.run_folder import write_classes
from resnet_degradation.records.summary import FinalErrors
from resnet_degradation.system.atomic_files import atomic_write, write_json
from resnet_degradation.system.encoding import escape_non_utf8
from resnet_degradation.training.contact_sheet import make_contact_sheet
from resnet_degradation.training.state import Run

# Maps TensorBoard's tags to columns of metrics.csv.
SCALARS = {
    "error/train": "train_error",
    "error/val": "val_error",
    "error/test": "test_error",
    "loss/train": "train_loss",
    "learning_rate": "lr",
    "images_per_second": "images_per_second",
}

# For TensorBoard's tab "custom scalars": training and held-out error in one chart.
CHARTS = {
    "errors (%)": {"training and held-out": ["Multiline", ["error/train", "error/(val|test)"]]}
}

# Settings left out of the hparams: they change no results, or "data" already shows them.
NOT_SHOWN = ("output_dir", "data.name", "data.families", "data.download", "data.on_error")


class Recorder:
    """Writes the files of one run. Only rank 0 has one.

    metrics.csv is the record. When a run resumes, metrics.csv and TensorBoard's events are
    rewritten from the rows in the checkpoint. This drops rows that were written after the
    checkpoint, repairs damaged files, and avoids duplicate points.
    """

    def __init__(self, run: Run) -> None:
        self.folder = folder = run.folder
        rows = run.rows
        folder.mkdir(parents=True, exist_ok=True)
        configuration = OmegaConf.to_yaml(
            OmegaConf.create(escape_interpolation(asdict(run.config)))
        )
        with atomic_write(folder / "config.yaml") as stream:
            stream.write(configuration)
        write_classes(folder, run.classes)
        self._write_skipped(run.skipped)
        if run.extension is not None:
            write_json(folder / "extension.json", asdict(run.extension))
        write_metrics(folder, rows)
        self._stream = (folder / "metrics.csv").open("a", newline="", encoding="utf-8")
        self._csv = csv.writer(self._stream, lineterminator="\n")
        for stale in [*folder.glob("events.out.tfevents.*"), *folder.rglob("*.tmp")]:
            stale.unlink()
        self._layer_stats: LayerStatsLog = {}
        self._start_time = time.time() - (rows[-1].seconds if rows else 0)
        self._previous_hook = threading.excepthook
        threading.excepthook = _silence_event_writer
        # purge_step makes a running TensorBoard drop the points of the interrupted run.
        self._tensorboard = SummaryWriter(str(folder), purge_step=0)
        self._tensorboard.add_text("configuration", f"```yaml\n{configuration}```", 0)
        self._tensorboard.add_custom_scalars(CHARTS)
        # Omit torch's list of columns, because TensorBoard would use the first run's for all runs.
        _, hparams_start, self._hparams_end = hparams(_hparams(run.config), {})
        self._add_summary(hparams_start)
        for row in rows:
            self._show_row(row)

    def add_row(self, row: Row) -> None:
        """Append a row to metrics.csv and flush it; show it in TensorBoard."""
        self._csv.writerow(format_row(row))
        self._stream.flush()
        self._show_row(row)

    def add_images(self, images: Tensor, names: list[str]) -> None:
        """Show images in TensorBoard, with the names of their classes.

        images: tensor of shape (N, 3, H, W) with values in [0, 1].
        """
        sheet = make_contact_sheet(images, names)
        self._tensorboard.add_image("training images", sheet, 0, dataformats="HWC")

    def add_scalars(self, iteration: int, values: dict[str, float]) -> None:
        """Show values in TensorBoard that are not part of the record."""
        for tag, value in values.items():
            self._tensorboard.add_scalar(tag, value, iteration)

    def add_layer_stats(self, iteration: int, stats: list[LayerStats]) -> None:
        """Add the statistics of every layer to signals.csv and TensorBoard.

        After a resume, the first call drops what was recorded at this iteration or later.
        """
        new = {iteration: stats}
        if not self._layer_stats:  # the first call since the run started or resumed
            recorded = read_layer_stats(self.folder)
            new = {step: recorded[step] for step in recorded if step < iteration} | new
        self._layer_stats |= new
        write_layer_stats(self.folder, self._layer_stats)
        for step, layers in new.items():
            for layer in layers:
                for tag in ("signal_std", "gradient_norm"):
                    name = f"{tag}/{layer.layer:03d}_{layer.name}"
                    self._tensorboard.add_scalar(name, getattr(layer, tag), step)

    def _write_skipped(self, skipped: list[tuple[str, str]]) -> None:
        file = self.folder / "skipped.csv"
        if not skipped:
            file.unlink(missing_ok=True)  # the images may have been repaired since
            return
        with atomic_write(file) as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["split", "image"])
            writer.writerows(skipped)

    def finish(
        self, final: FinalErrors, responses: list[Response], summary: dict[str, Any]
    ) -> None:
        """Write responses and, last, summary.json, which marks the run as finished."""
        write_responses(self.folder, responses)
        errors = {f"final/{name}": e for name, e in final.as_dict().items() if e is not None}
        self.add_scalars(summary["iterations"], errors)
        self._add_summary(self._hparams_end)
        os.fsync(self._stream.fileno())
        self.close()
        write_json(self.folder / "summary.json", summary)

    def close(self) -> None:
        """Close the files. Without `finish`, the run is unfinished and can be resumed."""
        try:
            self._tensorboard.close()
            self._stream.close()
        finally:
            threading.excepthook = self._previous_hook

    def _add_summary(self, summary: Any) -> None:
        writer = self._tensorboard.file_writer
        assert writer is not None
        writer.add_summary(summary)

    def _show_row(self, row: Row) -> None:
        walltime = self._start_time + row.seconds
        for tag, column in SCALARS.items():
            if (value := getattr(row, column)) is not None:
                self._tensorboard.add_scalar(tag, value, row.iteration, walltime=walltime)


def _silence_event_writer(args: threading.ExceptHookArgs) -> None:
    """Do not print errors of TensorBoard's writer thread: its next call raises them again."""
    if not type(args.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(args)


def _hparams(config: Config) -> dict[str, Any]:
    """Return the settings that can change results, for TensorBoard's hparams.

    Defaults are included, because TensorBoard compares two runs only in settings that both have.
    """
    return {"net": net_name(config), "data": data_name(config)} | {
        key: value if isinstance(value, bool | int | float) else escape_non_utf8(str(value))
        for key, value in flatten_dict(asdict(config)).items()
        if key == "runtime.precision" or not key.startswith(("runtime.", *NOT_SHOWN))
    }
