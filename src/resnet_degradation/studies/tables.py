"""Writes the table of final errors for a paper: results.md, and results.tex with booktabs."""

from collections.abc import Sequence
from pathlib import Path

from resnet_degradation.system.atomic_files import atomic_write

# Characters that must be escaped in LaTeX.
LATEX_ESCAPES = {
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "\u00a0": "~",
}
OMITTED_COLUMNS = ("multiply-adds", "seconds")


def write_tables(folder: Path, rows: Sequence[dict[str, str]], notes: Sequence[str]) -> list[Path]:
    """Write a report's table for a paper, without empty columns; return the paths of the files.

    Without the column of seeds, too, if all nets have the same number: the notes state it.

    notes: on the conditions, and on what is not comparable. They are written below the table in
    Markdown, and as comments in LaTeX.
    """
    omitted = [name for name in rows[0] if all(row[name] == "-" for row in rows)]
    if len({row["seeds"].count(",") for row in rows}) == 1:
        omitted.append("seeds")
    columns = [name for name in rows[0] if name not in (*OMITTED_COLUMNS, *omitted)]
    table = [columns, *([row[name] for name in columns] for row in rows)]
    contents = {
        folder / "results.md": format_markdown(table, notes),
        folder / "results.tex": format_latex(table, notes),
    }
    for file, content in contents.items():
        with atomic_write(file) as stream:
            stream.write(content)
    return [*contents]


def format_markdown(table: list[list[str]], notes: Sequence[str]) -> str:
    """Format a table in Markdown, with its first row as the heading and the notes below."""
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in table]
    lines.insert(1, f"| --- |{' ---: |' * (len(table[0]) - 1)}")
    return "\n".join([*lines, *(f"\n{note}" for note in notes)]) + "\n"


def format_latex(table: list[list[str]], notes: Sequence[str]) -> str:
    """Format a table as a LaTeX tabular with booktabs, and the notes as comments."""
    head, *rows = [" & ".join(map(escape_latex, row)) + r" \\" for row in table]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            *(f"% {' '.join(note.split())}" for note in notes),
            rf"\begin{{tabular}}{{l{'r' * (len(table[0]) - 1)}}}",
            *(r"\toprule", head, r"\midrule", *rows, r"\bottomrule"),
            r"\end{tabular}",
            "",
        ]
    )


def escape_latex(text: str) -> str:
    """Escape the text of a cell for LaTeX; "-" (no value) becomes a dash."""
    return "--" if text == "-" else "".join(LATEX_ESCAPES.get(letter, letter) for letter in text)
