"""The degradation experiment of "Deep Residual Learning for Image Recognition"."""

__version__ = "0.2.0.dev0"
