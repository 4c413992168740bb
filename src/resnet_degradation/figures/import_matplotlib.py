"""Importing matplotlib whatever backend, settings and cache folder the user has."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory


def import_matplotlib() -> None:
    """Import matplotlib without warnings; ignore a backend or matplotlibrc that prevents it.

    An MPLBACKEND that is not installed, such as a notebook's in a shell command, would make the
    import fail; a read-only home folder would print several lines. Valid settings of the user's
    stay in force for the user's own code.
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
            try:
                import matplotlib.figure  # which also looks for fonts
            except Exception:  # a matplotlibrc that is not text, or needs a missing locale
                for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
                    del sys.modules[name]  # only partly imported
                with _empty_matplotlibrc():
                    import matplotlib.figure
    finally:
        logger.setLevel(level)
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
            os.environ["MPLBACKEND"] = backend


@contextmanager
def _empty_matplotlibrc() -> Iterator[None]:
    """Work in a folder with an empty matplotlibrc, the first place where matplotlib looks."""
    previous = os.getcwd()  # noqa: PTH109
    with TemporaryDirectory() as folder:
        (Path(folder) / "matplotlibrc").touch()
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(previous)
