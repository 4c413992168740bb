"""The files of a run folder: reading, writing and locking them.

A run folder holds `config.yaml`, `classes.json`, `metrics.csv` (the record), TensorBoard's events
(a view of the record), `checkpoints/`, `skipped.csv` if unreadable images were left out,
`signals.csv` if layer statistics were recorded, `extension.json` if the run started from a
shallower net, and, once the run is finished, `responses.csv` and `summary.json`. Later
measurements are in `evaluations/` and `inspection/`.

May import reference, distributed, config and system."""
