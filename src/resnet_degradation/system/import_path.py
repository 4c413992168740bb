"""What `python -m` needs before anything else is imported; so nothing but os and sys is, here."""

import os
import sys


def ignore_current_folder() -> None:
    """Import no modules from the current folder, which `python -m` puts first.

    A user's file there, such as inspect.py, would take the place of Python's module of that name.
    Code that a setting names is looked for there later.
    """
    here = os.getcwd()  # noqa: PTH109
    holds_this_package = os.path.join(here, "resnet_degradation") == os.path.dirname(__file__)  # noqa: PTH118, PTH120
    if sys.path[0] == here and not holds_this_package:
        del sys.path[0]
