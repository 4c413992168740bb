"""Studies: trains many runs from one configuration and writes figures, tables and a report.

May import every room but cli, inspection and evaluation."""
