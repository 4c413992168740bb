"""The paper's numbers and settings.

May import config and system."""
