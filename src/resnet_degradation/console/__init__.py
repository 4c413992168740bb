"""Progress bars and lines on a terminal.

May import figures and the rooms below it."""
