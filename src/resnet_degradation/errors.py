"""Errors that a user can cause. Each message is one line: what is wrong, what to do."""


class UserError(Exception):
    """Something the user can mend; printed as one line, without a traceback."""

    exit_code = 2


class ConfigError(UserError):
    """A configuration that cannot be run."""


class DataError(UserError):
    """Images that are missing, unreadable or laid out differently than expected."""


class CheckpointError(UserError):
    """A checkpoint that cannot be continued from."""


class DivergenceError(UserError):
    """The training loss stopped being finite."""

    exit_code = 3


def explain(error: Exception) -> str | None:
    """What is wrong, in one line, if the user can mend it; None if it is a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return (
            "out of memory: try a smaller recipe.batch_size, runtime.eval_batch_size, width or "
            "data.image_size"
        )
    return None
