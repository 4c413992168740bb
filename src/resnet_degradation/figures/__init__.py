"""Figures, drawn from the files of run folders alone.

May import nets, records and the rooms below them."""

import logging
import os
import sys
import warnings
from contextlib import suppress


def _import_matplotlib() -> None:
    """Import matplotlib without warnings, and without a backend that prevents it.

    An MPLBACKEND that is not installed, such as a notebook's in a shell command, would make the
    import fail; a read-only home folder would print several lines.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matplotlib.figure  # which also looks for fonts
    logger.setLevel(level)
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
            os.environ["MPLBACKEND"] = backend


# Before a module of this package imports it, and before hours of training rather than after them.
_import_matplotlib()
