"""Measurements on a trained net that say why, and not only that."""
