"""Standard output that cannot crash a run: the disk may be full, or the reader may be gone."""

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO, cast

from rich.console import Console

from resnet_degradation.system.os_signals import raise_broken_pipe


class Output:
    """A stream that drops its output, with a warning, once it cannot be written.

    Raises BrokenPipeError if its reader is gone.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Write some text, if possible."""
        self._try(self._stream.write, text)

    def flush(self) -> None:
        """Write what is buffered, if possible."""
        self._try(self._stream.flush)

    def _try(self, write: Callable[..., object], *arguments: str) -> None:
        try:
            write(*arguments)
        except BrokenPipeError:
            raise
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            warnings.warn(
                f"standard output cannot be written ({error.strerror}): the rest is not printed",
                stacklevel=2,
            )


class Terminal(Console):
    """Standard output. When its reader goes away, the program ends.

    quiet: whether nothing is printed. A bar is shown only in a real terminal: a notebook, or a
    shell in Emacs, would keep every state of the bar. They get lines instead, even if FORCE_COLOR
    is set, as in the kernel of a notebook.
    """

    def __init__(self, quiet: bool = False) -> None:
        file = None if sys.stdout is None else cast(TextIO, Output(sys.stdout))
        plain = os.environ.get("TERM") in ("dumb", "unknown")
        terminal = None if file is not None and file.isatty() and not plain else False
        super().__init__(file=file, quiet=quiet, force_jupyter=False, force_terminal=terminal)
        if self.width < 1:  # COLUMNS=0, with which nothing would be shown
            self.width = 80

    def on_broken_pipe(self) -> None:
        """Print nothing more, and end as on a signal: a run is saved first."""
        self.quiet = True
        raise_broken_pipe()
