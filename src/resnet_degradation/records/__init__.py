"""Reads, writes and locks the files of a run folder.

Every run folder holds `config.yaml`, `classes.json`, `metrics.csv`, TensorBoard event files with
the same values, and `checkpoints/`. A finished run also has `responses.csv` and `summary.json`.
Depending on the run, there are `skipped.csv` (unreadable images), `signals.csv` (layer statistics)
and `extension.json` (how the run started from a shallower net). `evaluations/` and `inspection/`
hold later measurements.

May import reference, distributed, config and system."""
