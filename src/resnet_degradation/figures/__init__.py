"""Figures, drawn from the files of run folders alone.

May import nets, records and the rooms below them."""

from resnet_degradation.figures.import_matplotlib import import_matplotlib

# Before a module of this package imports it, and before hours of training rather than after them.
import_matplotlib()
