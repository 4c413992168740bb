"""Configurations: schema, rules between fields, resolved values, identity and names of runs.

May import system.
"""

# Custom loaders name the type of their argument.
from resnet_degradation.config.schema import DataConfig

__all__ = ["DataConfig"]
