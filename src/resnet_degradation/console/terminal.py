"""Standard output that cannot crash a run, even if the disk is full or the reader is gone."""

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO, cast

from rich.console import Console

from resnet_degradation.system.os_signals import stop_on_broken_pipe


class SafeStream:
    """A stream that warns and drops its output once it cannot be written.

    Raises BrokenPipeError if its reader is gone.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Write text, if possible."""
        self._try(self._stream.write, text)

    def flush(self) -> None:
        """Flush the stream, if possible."""
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
    """A console on standard output. When the reader of the output is gone, the program ends.

    quiet: whether to print nothing. Bars are shown only in a real terminal, because a notebook or
    an Emacs shell would keep every state of a bar. These get lines instead, even if FORCE_COLOR is
    set, as it is in the kernel of a notebook.
    """

    def __init__(self, quiet: bool = False) -> None:
        file = None if sys.stdout is None else cast(TextIO, SafeStream(sys.stdout))
        is_dumb = os.environ.get("TERM") in ("dumb", "unknown")
        is_terminal = file is not None and file.isatty() and not is_dumb
        force_terminal = None if is_terminal else False
        super().__init__(file=file, quiet=quiet, force_jupyter=False, force_terminal=force_terminal)
        if self.width < 1:  # COLUMNS=0 would hide everything
            self.width = 80

    def on_broken_pipe(self) -> None:
        """Stop printing, and end the program as a signal would: after saving a run."""
        self.quiet = True
        stop_on_broken_pipe()
