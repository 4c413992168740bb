"""Studies: which runs make a figure, carrying them out, and what they say together."""
