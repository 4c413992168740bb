"""Figures, drawn from the files of run folders alone.

May import nets, records and the rooms below them."""

import locale
import logging
import os
import sys
import warnings
from contextlib import suppress

from resnet_degradation.system.errors import UserError


def _import_matplotlib() -> None:
    """Import matplotlib without warnings, whatever backend MPLBACKEND names.

    An MPLBACKEND that is not installed would make the import fail: a notebook's backend, for
    example, in a command that the notebook runs. A read-only home folder would print several lines.
    Raises UserError for a matplotlibrc that cannot be read.
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
            import matplotlib.figure  # which also looks for fonts
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


# At import, so that it precedes other imports of matplotlib, and an error precedes the training.
_import_matplotlib()
