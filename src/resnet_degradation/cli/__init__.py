"""Entry points: one module a command, and what turns errors into messages and exit codes.

May import every other room."""
