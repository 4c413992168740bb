"""The table of final errors for a paper: results.md, and results.tex for LaTeX's booktabs."""

from collections.abc import Sequence
from pathlib import Path

from resnet_degradation.system.atomic_files import atomic_write

# Characters that must be escaped in LaTeX.
LATEX = {
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
LEFT_OUT = ("multiply-adds", "seeds", "seconds")  # the notes give the seeds


def write_tables(folder: Path, rows: Sequence[dict[str, str]], notes: Sequence[str]) -> list[Path]:
    """Write the rows of a report's table for a paper; columns without any value are left out.

    notes: on data, schedule and seeds, and on values that are not comparable; below the table, or
    as comments in LaTeX. Returns the files.
    """
    columns = [
        name for name in rows[0] if name not in LEFT_OUT and any(row[name] != "-" for row in rows)
    ]
    table = [columns, *([row[name] for name in columns] for row in rows)]
    files = [folder / "results.md", folder / "results.tex"]
    for file, text in zip(files, (markdown(table, notes), latex(table, notes)), strict=True):
        with atomic_write(file) as stream:
            stream.write(text)
    return files


def markdown(table: list[list[str]], notes: Sequence[str]) -> str:
    """A Markdown table, whose first row is the heading, and the notes below it."""
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in table]
    lines.insert(1, f"| --- |{' ---: |' * (len(table[0]) - 1)}")
    return "\n".join([*lines, *(f"\n{note}" for note in notes)]) + "\n"


def latex(table: list[list[str]], notes: Sequence[str]) -> str:
    """The same as a tabular with the rules of booktabs, and the notes as comments."""
    head, *rows = [" & ".join(map(escaped, row)) + r" \\" for row in table]
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


def escaped(text: str) -> str:
    """Escape a cell's text for LaTeX; "-", which means that there is no value, becomes a dash."""
    return "--" if text == "-" else "".join(LATEX.get(letter, letter) for letter in text)
