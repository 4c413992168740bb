"""Studies: many runs from one configuration, their plan, tables, verdicts, figures and report.

May import every room but cli, inspection and evaluation."""
