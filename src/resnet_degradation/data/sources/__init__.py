"""Readers of data sets; each returns a `Source`."""

# Custom loaders written for version 0.1.0 import these types from here.
from resnet_degradation.data.dataset import Arrays, Files, Source

__all__ = ["Arrays", "Files", "Source"]
