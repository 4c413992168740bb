"""Errors and warnings of one line each, which tell the user what is wrong and what to do."""

import re
import signal
import warnings

from resnet_degradation.system.process import get_rank

# The number of SIGPIPE, which Windows lacks. Python ignores it and raises BrokenPipeError.
BROKEN_PIPE = 13

# Out-of-memory messages of errors other than OutOfMemoryError: on a CPU, on an Apple GPU, and for
# CUDA memory that torch's allocator does not manage (CUDA context, cuBLAS, cuDNN).
OUT_OF_MEMORY_MESSAGE = re.compile(
    r"can't allocate memory|(CUDA error:|MPS backend) out of memory|STATUS_ALLOC_FAILED"
)


class UserError(Exception):
    """An error that the user can fix; printed as one line, without a traceback."""

    exit_code = 2
    rank = 0  # rank of the process that prints the message (not always the failed one)

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows instead of a traceback."""
        return [f"error: {' '.join(str(self).split())}"]


class ConfigError(UserError):
    """A configuration is invalid, or cannot run here."""


class DataError(UserError):
    """Images are missing, unreadable or not laid out as expected."""


class CheckpointError(UserError):
    """A checkpoint is missing or cannot be used."""


class WeightsError(UserError):
    """A weights file cannot be read, or does not fit the net."""


class RecordError(UserError):
    """The record of a run cannot be written: the disk is full, or the folder read-only or gone."""


class DivergenceError(UserError):
    """The training loss or a weight is no longer finite."""

    exit_code = 3


class LostContactError(UserError):
    """Another process of the same run has died or does not answer."""

    exit_code = 4


class PeerFailedError(UserError):
    """Another process of the same run has failed, and prints the reason."""

    def __init__(self, rank: int) -> None:
        super().__init__(f"rank {rank} failed")
        self.rank = rank


class Stopped(BaseException):
    """A signal stopped the program.

    Like KeyboardInterrupt, this is not a subclass of Exception, because nothing failed.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(signum, message)  # pickle needs all arguments
        self.message = message
        self.signum = signum
        self.exit_code = 128 + signum

    def __str__(self) -> str:
        closed = "the reader of the output closed the pipe"
        reason = closed if self.signum == BROKEN_PIPE else signal.Signals(self.signum).name
        return f"{self.message} ({reason})"


def describe_os_error(error: OSError) -> str:
    """Return the operating system's message and, if it is known, the file.

    A FileNotFoundError without a file means that the working directory was deleted.
    """
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None and isinstance(error, FileNotFoundError):
        return f"{reason}: the current folder was deleted, so change to another"
    return reason if error.filename is None else f"{reason}: {error.filename}"


def use_one_line_warnings() -> None:
    """Print each warning on one line without its source location, and only on rank 0."""
    if get_rank() > 0:
        warnings.simplefilter("ignore")
    warnings.formatwarning = lambda message, *_details, **_more: f"warning: {message}\n"


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch ran out of memory, on a CPU or a GPU."""
    return type(error).__name__ == "OutOfMemoryError" or bool(
        OUT_OF_MEMORY_MESSAGE.search(str(error))
    )


def explain(error: Exception) -> str | None:
    """Explain an error in one line if the user can fix it; None for a bug or a broken pipe."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return describe_os_error(error)
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        return (
            f"a library cannot be loaded ({error}): the memory limit of this process is too low "
            "(ulimit -v), or the library is on a file system mounted with noexec"
        )
    if type(error).__module__ in ("torch._inductor.exc", "torch._dynamo.exc"):
        return (
            f"torch.compile failed ({str(error).splitlines()[0]}): to train without it, "
            "set runtime.compile=none"
        )
    if is_out_of_memory(error):
        return (
            "out of memory: try a smaller recipe.batch_size, runtime.eval_batch_size, width or "
            "data.image_size"
        )
    return None
