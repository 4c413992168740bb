"""What `python -m` needs before anything else is imported; so nothing but os and sys is, here."""

import os
import sys


def ignore_current_folder() -> None:
    """Import no modules from the current folder, which `python -m` puts first.

    A user's file there, such as inspect.py, would take the place of Python's module of that name.
    Code that a setting names is looked for there later.
    """
    if sys.path[0] == os.getcwd():  # noqa: PTH109
        del sys.path[0]
