"""Configurations: the schema, validation, default values, and the identity and name of a run.

May import system.
"""

# Exported as the type of a custom loader's argument.
from resnet_degradation.config.schema import DataConfig

__all__ = ["DataConfig"]
