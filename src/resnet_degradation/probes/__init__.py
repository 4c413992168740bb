"""Measurements on a net: errors, responses, layer statistics, residual norms, lesions.

May import data and the rooms below it."""
