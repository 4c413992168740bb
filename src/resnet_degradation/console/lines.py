"""Prints lines and tables that fit a terminal, and clickable paths."""

import os
import textwrap
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.style import Style
from rich.table import Table
from rich.text import Text

# On a narrower terminal, progress has no bar and only the most important numbers.
FULL_PROGRESS_WIDTH = 76

UNLIMITED = 10_000  # columns


def print_line(console: Console, text: str) -> None:
    """Print text, wrapped between words in a terminal and on one line elsewhere.

    Words longer than a line, such as paths, are not broken, so that they can be copied.
    """
    if console.is_terminal:
        wrapper = textwrap.TextWrapper(
            console.width, break_long_words=False, break_on_hyphens=False
        )
        text = "\n".join(wrapper.fill(line) for line in text.split("\n"))
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_path(console: Console, prefix: str, path: Path, suffix: str = "") -> None:
    """Print a path, as a clickable link if the terminal supports hyperlinks (OSC 8)."""
    # The Linux console would print the escape codes of a link.
    no_links = console.no_color or os.environ.get("TERM") == "linux"
    style = Style() if no_links or not console.is_terminal else Style(link=path.resolve().as_uri())
    text = Text.assemble(prefix, (str(path), style), suffix)
    console.print(text, highlight=False, soft_wrap=True)


def print_table(console: Console, table: Table, optional: tuple[str, ...] = ()) -> None:
    """Print a table, dropping `optional` columns in the given order until it fits.

    If it never fits, print each row as a list.
    """
    for column in table.columns:
        if column.no_wrap:  # otherwise, rich uses the longest word as the minimum width
            cells = [str(cell) for cell in (column.header, *column.cells)]
            column.min_width = max(cell_len(line) for cell in cells for line in cell.split("\n"))
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
        first, *others = (" ".join(str(cell).split("\n")) for cell in row)
        print_line(console, first or "-")
        for heading, cell in zip(headings[1:], others, strict=True):
            print_line(console, f"  {heading}: {cell}")


def _fits(console: Console, table: Table) -> bool:
    unlimited = console.options.update(max_width=UNLIMITED)
    return Measurement.get(console, unlimited, table).minimum <= console.width
