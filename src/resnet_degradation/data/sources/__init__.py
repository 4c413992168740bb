"""Readers of data sets, one per module; each returns a `Source`."""

# Where version 0.1.0 had the types that a custom loader returns.
from resnet_degradation.data.dataset import Arrays, Files, Source

__all__ = ["Arrays", "Files", "Source"]
