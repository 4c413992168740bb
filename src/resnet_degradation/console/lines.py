"""Lines and tables that fit a terminal, and paths that it opens on a click."""

import os
import textwrap
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.style import Style
from rich.table import Table
from rich.text import Text

# With fewer columns than this, progress shows no bar and only the most important numbers.
FULL_PROGRESS_WIDTH = 76

UNLIMITED = 10_000  # columns


def print_line(console: Console, text: str) -> None:
    """Print a text: in a terminal broken between words, elsewhere in one line.

    A word longer than a line, such as a path, stays whole, so that it can be copied.
    """
    if console.is_terminal:
        wrapper = textwrap.TextWrapper(
            console.width, break_long_words=False, break_on_hyphens=False
        )
        text = "\n".join(wrapper.fill(line) for line in text.split("\n"))
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_path(console: Console, about: str, path: Path, after: str = "") -> None:
    """Print a path, which a terminal opens on a click if it supports hyperlinks (OSC 8)."""
    # The console of Linux would print the codes of a link.
    plain = console.no_color or os.environ.get("TERM") == "linux"
    style = Style() if plain or not console.is_terminal else Style(link=path.resolve().as_uri())
    text = Text.assemble(about, (str(path), style), after)
    console.print(text, highlight=False, soft_wrap=True)


def print_table(console: Console, table: Table, optional: tuple[str, ...] = ()) -> None:
    """Print a table of texts, leaving out `optional` columns, in this order, until it fits.

    If it does not fit without them either, print each row as a list.
    """
    for column in table.columns:
        if column.no_wrap:  # otherwise, rich uses the longest word as the minimum width
            texts = [str(text) for text in (column.header, *column.cells)]
            column.min_width = max(cell_len(line) for text in texts for line in text.split("\n"))
    for heading in optional:
        if _fits(console, table):
            break
        table.columns = [column for column in table.columns if column.header != heading]
    if _fits(console, table):
        console.print(table)
        return
    headings = [str(column.header) for column in table.columns]
    if table.title:
        print_line(console, str(table.title))
    for row in zip(*(column.cells for column in table.columns), strict=True):
        first, *others = (" ".join(str(text).split("\n")) for text in row)
        print_line(console, first or "-")
        for heading, text in zip(headings[1:], others, strict=True):
            print_line(console, f"  {heading}: {text}")


def _fits(console: Console, table: Table) -> bool:
    unlimited = console.options.update(max_width=UNLIMITED)
    return Measurement.get(console, unlimited, table).minimum <= console.width
