"""The files of a run folder: reading, writing and locking them.

May import reference, distributed, config and system."""
