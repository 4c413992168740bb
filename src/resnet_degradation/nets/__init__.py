"""Plain and residual nets: blocks, architectures, cost, weights in and out.

May import records and the rooms below it."""
