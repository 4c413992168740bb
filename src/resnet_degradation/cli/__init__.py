"""Entry points of the commands, and the messages and exit codes of errors.

May import every other room."""
