"""One training run: built from a configuration, trained by the paper's recipe, recorded, resumed.

May import probes and the rooms below it."""
