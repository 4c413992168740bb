"""Draw the figures of a study again, or error curves of any runs, from their records alone.

resnet-plot outputs/studies/quick
resnet-plot outputs/digits --output curves.svg --x epoch --smooth 5 --log
resnet-plot outputs/studies/quick --width column    (for a paper)

Several folders, as of two machines, are drawn as one: runs that differ only in the seed are
averaged, wherever they were trained.
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

from resnet_degradation import __version__
from resnet_degradation.cli.app import flush_output
from resnet_degradation.config.schema import ERROR_CHOICES
from resnet_degradation.figures.drawing import HORIZONTAL, Drawing, adjusted, read_drawing
from resnet_degradation.figures.registry import FIGURES, USED
from resnet_degradation.figures.style import FORMATS, save_figure
from resnet_degradation.records.run_folder import drop_duplicate_runs, find_runs, read_config
from resnet_degradation.records.summary import is_finished
from resnet_degradation.studies.report import write_paper_tables
from resnet_degradation.studies.results import read_result
from resnet_degradation.system.encoding import accept_any_locale
from resnet_degradation.system.errors import BROKEN_PIPE, UserError, explain, one_line_warnings

# Options that say what is read and written, not how it is drawn.
NOT_DRAWN = ("folders", "output", "formats", "figure", "table")

WIDTHS = {"column": 3.3, "text": 6.8}


def main() -> int:
    """`resnet-plot`; returns the exit code."""
    accept_any_locale()
    arguments = parse()
    one_line_warnings()
    try:
        draw(arguments)
    except BrokenPipeError:
        flush_output()
        return 128 + BROKEN_PIPE
    except (UserError, OSError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return UserError.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def draw(arguments: argparse.Namespace) -> None:
    """Draw the figure, and print the names of the files written.

    Raises UserError if there is nothing to draw, or if settings are not valid.
    """
    # A wildcard for runs may also match figures.
    folders = [path for path in arguments.folders if not path.is_file()]
    if not folders:
        raise UserError("these are files: name the folders of runs or of a study")
    stem = arguments.figure if arguments.width is None else f"{arguments.figure}-paper"
    default = folders[0] / stem if len(folders) == 1 else Path(stem)
    runs = drop_duplicate_runs([run for folder in folders for run in find_runs(folder)])
    settings = {k: v for k, v in vars(arguments).items() if k not in NOT_DRAWN}
    refuse_unused(arguments.figure, settings)
    first, *others = map(read_drawing, folders)  # of one study on several machines: all equal
    drawing = Drawing() if any(one != first for one in others) else first
    drawing = adjusted(drawing, **settings)
    figure = FIGURES[arguments.figure](runs, drawing)(drawing, False)
    output, formats = arguments.output or default, arguments.formats
    if (ending := output.suffix.removeprefix(".")) in FORMATS:
        output, formats = output.with_suffix(""), formats or [ending]
    files = save_figure(figure, output, tuple(formats or FORMATS))
    if arguments.table:
        files += write_table(runs, output.parent)
    print(*files, sep="\n", flush=True)
    if arguments.width is not None:
        print(f"caption: {figure.get_label()}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"resnet-degradation {__version__}")
    parser.add_argument("folders", nargs="+", type=Path, help="folders of a study or of runs")
    parser.add_argument(
        "--output",
        type=Path,
        help="path of the figure; its ending, if it has one, chooses the format. The "
        "default is named after the figure (with -paper if --width is given), in the given folder, "
        "or in the current one if several are given",
    )
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=FORMATS,
        help="formats of the files (default: all, or the ending of --output)",
    )
    parser.add_argument(
        "--figure", choices=FIGURES, default="curves", help="which figure (default: curves)"
    )
    parser.add_argument(
        "--width",
        type=inches,
        metavar="INCHES",
        help="draw for a paper: of this width, with text of 6.7 to 7.5 points and thinner lines, "
        "without a title (unless --title gives one); the caption is printed. 'column' is 3.3, for "
        "one of two columns (CVPR, ICML, IEEE), 'text' is 6.8, for both",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="also write results.md and results.tex beside the figure: final errors of each net, "
        "mean and standard deviation over seeds",
    )
    parser.add_argument(
        "--title",
        help="what to write above the figure (default: the study's; none with --width)",
    )
    parser.add_argument(
        "--x", choices=HORIZONTAL, help="the horizontal axis (default: the iteration)"
    )
    parser.add_argument(
        "--errors",
        choices=ERROR_CHOICES,
        help="which errors to draw (default: those of the study, else both)",
    )
    parser.add_argument(
        "--together", action="store_true", help="plain and residual nets in one panel"
    )
    parser.add_argument(
        "--smooth",
        type=int,
        metavar="N",
        help="average each point of a training curve with the N - 1 rows before it",
    )
    parser.add_argument("--log", action="store_true", default=None, help="logarithmic error axis")
    parser.add_argument(
        "--dashed",
        action="store_true",
        default=None,
        help="draw the training error dashed instead of thin",
    )
    parser.add_argument(
        "--y-max", type=float, metavar="PERCENT", help="upper end of the error axis"
    )
    return parser.parse_args()


def refuse_unused(figure: str, settings: dict[str, Any]) -> None:
    """Raise UserError if settings are given that this figure does not use."""
    chosen = [key for key, value in settings.items() if value is not None and value is not False]
    unused = [key for key in chosen if key not in USED.get(figure, chosen)]
    if unused:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in unused)
        raise UserError(f"the figure {figure} does not use {options}: draw it without")


def write_table(runs: list[Path], folder: Path) -> list[Path]:
    """Write the final errors of the finished runs, and name the others on standard error.

    Raises UserError if no run is finished.
    """
    finished = [run for run in runs if is_finished(run)]
    if not finished:
        raise UserError("there is no table yet: no run is finished")
    if unfinished := [str(run) for run in runs if run not in finished]:
        print(f"not finished, so not in the table: {', '.join(unfinished)}", file=sys.stderr)
    return write_paper_tables(folder, [read_result(read_config(run), run) for run in finished])


def inches(text: str) -> float:
    """A width in inches, or its name."""
    try:
        return WIDTHS.get(text) or float(text)
    except ValueError:
        expected = f"{text} is no width: use inches, column or text"
        raise argparse.ArgumentTypeError(expected) from None
