"""Reads summary.json, which a run writes last: it marks the run as finished."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_degradation.system.errors import UserError


@dataclass(frozen=True)
class FinalErrors:
    """Errors at the end of a run, in percent.

    `train_error` is measured on the last `num_counted_images` augmented images: one epoch, or a
    tenth of the run if that is shorter. The other errors are those after the last iteration, not
    the lowest ones of the run.
    """

    train_error: float
    val_error: float | None
    test_error: float | None
    num_counted_images: int

    def held_out_error(self) -> float | None:
        """The validation error, or the test error of data that has no validation set."""
        return self.test_error if self.val_error is None else self.val_error

    def as_dict(self) -> dict[str, float | None]:
        """The errors in percent, keyed by field name."""
        return {name: value for name, value in vars(self).items() if name.endswith("_error")}

    def __str__(self) -> str:
        named = (("validation", self.val_error), ("test", self.test_error))
        parts = [f"{name} error {error:.2f} %" for name, error in named if error is not None]
        images = f"last {self.num_counted_images:,} images"
        return ", ".join([f"final training error {self.train_error:.2f} % ({images})", *parts])


def is_finished(folder: Path) -> bool:
    """Whether the run in `folder` is finished."""
    return (folder / "summary.json").is_file()


def read_summary(folder: Path) -> dict[str, Any]:
    """Read the summary of a run; raise UserError if it is missing or damaged."""
    if not is_finished(folder):
        raise UserError(f"{folder} is not a finished run: it has no summary.json")
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_bytes())
        parse_final_errors(summary)  # raises if something is missing
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged: delete it and repeat the run's command, which then resumes from "
            "the last checkpoint"
        ) from error
    return dict(summary)


def parse_final_errors(summary: dict[str, Any]) -> FinalErrors:
    """Extract the final errors from the summary of a run."""
    return FinalErrors(
        **summary["final_errors_percent"], num_counted_images=summary["final_train_images"]
    )


def read_final_errors(folder: Path) -> FinalErrors:
    """Read the final errors of a run; raise UserError if it is not finished."""
    return parse_final_errors(read_summary(folder))
