"""The degradation experiment of "Deep Residual Learning for Image Recognition"."""

__version__ = "0.1.0"
