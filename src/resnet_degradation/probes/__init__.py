"""Measurements on a net, such as errors, layer statistics, lesions and sharpness.

May import data and the rooms below it."""
