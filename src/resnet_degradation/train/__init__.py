"""Training: the loop, its schedule, its record."""
