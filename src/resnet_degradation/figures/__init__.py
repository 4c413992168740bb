"""Figures, drawn from the files of run folders alone.

May import nets, records and the rooms below them."""
