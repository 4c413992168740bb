"""Configurations: schema, rules between fields, resolved values, identity and names of runs.

May import system.
"""

# Exported for custom loaders, which annotate their argument with it.
from resnet_degradation.config.schema import DataConfig

__all__ = ["DataConfig"]
