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
