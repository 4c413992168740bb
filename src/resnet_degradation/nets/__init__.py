"""Plain and residual nets: blocks, architectures, cost, weights files.

May import records and the rooms below it."""
