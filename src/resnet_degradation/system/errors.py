"""What ends a run. An error that a user can fix says in one line what is wrong, what to do."""

import signal
import warnings

from resnet_degradation.system.process import rank

# The number of SIGPIPE. Python ignores that signal: writing to a closed pipe is an error instead.
BROKEN_PIPE = 13


class UserError(Exception):
    """Something the user can fix; printed as one line, without a traceback."""

    exit_code = 2
    rank = 0  # the process it happened in, where a run has several: it says so, the others do not


class ConfigError(UserError):
    """A configuration that cannot be run."""


class DataError(UserError):
    """Images that are missing, unreadable or laid out differently than expected."""


class CheckpointError(UserError):
    """A checkpoint that cannot be continued from."""


class WeightsError(UserError):
    """A file of weights that cannot be read, or does not fit the net."""


class RecordError(UserError):
    """The record of a run cannot be written: a full disk, a folder that is read-only or gone."""


class DivergenceError(UserError):
    """The training loss stopped being finite."""

    exit_code = 3


class LostContactError(UserError):
    """Another process of the same run is gone, or does not answer."""

    exit_code = 4


class PeerFailedError(UserError):
    """Another process of the same run failed, and says why."""

    def __init__(self, rank: int | None) -> None:
        super().__init__(f"rank {rank} failed")
        self.rank = -1 if rank is None else rank


class Stopped(BaseException):
    """A signal asked for the end. Like KeyboardInterrupt, it is no Exception: no run's failure."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(number, message)  # all arguments, so that it passes between processes
        self.message = message
        self.exit_code = 128 + number

    def __str__(self) -> str:
        number = self.exit_code - 128
        reader_left = "the reader of the output went away"
        reason = reader_left if number == BROKEN_PIPE else signal.Signals(number).name
        return f"{self.message} ({reason})"


def describe_os_error(error: OSError) -> str:
    """What the system objects to, and at which file where that is known."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None and isinstance(error, FileNotFoundError):
        return f"{reason}: the current folder was deleted, so change to another"
    return reason if error.filename is None else f"{reason}: {error.filename}"


def one_line_warnings() -> None:
    """From here on, a warning is one line that says nothing of where in the code it arose.

    Of the processes of one run, only rank 0 gives any.
    """
    if rank() > 0:
        warnings.simplefilter("ignore")
    warnings.formatwarning = lambda message, *_details, **_more: f"warning: {message}\n"


def explain(error: Exception) -> str | None:
    """What is wrong, in one line, if the user can fix it; None if it is a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return describe_os_error(error)
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        return (
            f"a library cannot be loaded ({error}): the memory limit of this process is too low "
            "(ulimit -v), or the library is on a file system that forbids it (noexec)"
        )
    if type(error).__module__ in ("torch._inductor.exc", "torch._dynamo.exc"):
        return (
            f"torch.compile failed ({str(error).splitlines()[0]}): runtime.compile=none trains "
            "without it"
        )
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return (
            "out of memory: try a smaller recipe.batch_size, runtime.eval_batch_size, width or "
            "data.image_size"
        )
    return None
