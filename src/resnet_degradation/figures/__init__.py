"""Figures, drawn from the files of run folders alone."""
