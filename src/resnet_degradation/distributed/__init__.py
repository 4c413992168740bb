"""Several processes: rendezvous, collective operations, agreement on when to stop.

May import config and system."""
