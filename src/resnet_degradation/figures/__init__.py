"""Figures, drawn from the files in run folders.

May import nets, records and the rooms below them."""

import locale
import logging
import os
import sys
import warnings
from contextlib import suppress

from resnet_degradation.system.errors import UserError


def _import_matplotlib() -> None:
    """Import matplotlib without warnings, even if MPLBACKEND names a backend that is missing.

    Such a backend, set by a notebook for example, would make the import fail. A read-only home
    folder would cause several lines of warnings. Raises UserError if matplotlibrc cannot be read.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import matplotlib.figure  # also searches for fonts
    except (UnicodeError, locale.Error) as error:
        raise UserError(
            f"matplotlib cannot read its settings ({error}): fix or remove the matplotlibrc in "
            "this folder, in MATPLOTLIBRC or in ~/.config/matplotlib"
        ) from error
    finally:
        logger.setLevel(level)
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
            os.environ["MPLBACKEND"] = backend


# Called here so that it comes before other imports of matplotlib, and fails before any training.
_import_matplotlib()
