"""Prepares `python -m` before any other import, so it imports only os and sys itself."""

import os
import sys


def ignore_current_folder() -> None:
    """Do not import modules from the current folder, which `python -m` searches first.

    A user's file there, such as inspect.py, would shadow Python's module of that name. Custom code
    that a setting names is still found there later.
    """
    if sys.path[0] == os.getcwd():  # noqa: PTH109
        del sys.path[0]
