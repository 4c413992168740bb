"""Runs as files: what a run folder holds, and how to read it. Nothing here needs a trainer.

A run folder holds `config.yaml`, `classes.json`, `metrics.csv` (the record), TensorBoard's events
(a view of the record), `checkpoints/`, `skipped.csv` if unreadable images were left out,
`signals.csv` if signals were recorded, `extension.json` if it began as a shallower net, and, once
the run is finished, `responses.csv` and `summary.json`. What is measured of it later is in
`evaluations/` and `inspection/`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_degradation.records.metrics import _first_measured
from resnet_degradation.system.errors import UserError


@dataclass(frozen=True)
class FinalErrors:
    """Errors at the end of a run, in percent.

    `train_error` is counted on the augmented images of the last epoch, or of the last tenth of
    the run where that is shorter; `num_train_images` says on how many. The others are those of
    the last iterate, never of the best.
    """

    train_error: float
    val_error: float | None
    test_error: float | None
    num_train_images: int

    def held_out_error(self) -> float | None:
        """The validation error, or the test error of data that has no validation set."""
        return _first_measured(self.val_error, self.test_error)

    def in_percent(self) -> dict[str, float | None]:
        """The errors by their names."""
        return {
            "train_error": self.train_error,
            "val_error": self.val_error,
            "test_error": self.test_error,
        }

    def __str__(self) -> str:
        named = (("validation", self.val_error), ("test", self.test_error))
        parts = [f"{name} error {error:.2f} %" for name, error in named if error is not None]
        last = f"last {self.num_train_images:,} images"
        return ", ".join([f"final training error {self.train_error:.2f} % ({last})", *parts])


def read_final_errors(folder: Path) -> FinalErrors:
    """The final errors of a finished run; raises UserError if it is not finished."""
    return summarised_errors(read_summary(folder))


def summarised_errors(summary: dict[str, Any]) -> FinalErrors:
    """The final errors that the summary of a run holds."""
    return FinalErrors(
        **summary["final_errors_percent"], num_train_images=summary["final_train_images"]
    )


def is_finished(folder: Path) -> bool:
    """Whether the run in `folder` has come to its end."""
    return (folder / "summary.json").is_file()


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a finished run; raises UserError if it is not finished, or damaged."""
    if not is_finished(folder):
        raise UserError(f"{folder} holds no finished run: it has no summary.json")
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_bytes())
        summarised_errors(summary)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged: delete it and repeat the run's command, which goes on from the "
            "last checkpoint"
        ) from error
    return dict(summary)
