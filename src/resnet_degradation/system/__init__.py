"""The operating system: errors, signals, processes, files, text encoding, random numbers.

Imports nothing from the other rooms."""
