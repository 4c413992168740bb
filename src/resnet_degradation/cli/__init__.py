"""The entry points of the commands, and what turns errors into messages and exit codes.

May import every other room."""
