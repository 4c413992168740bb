"""Draw the figures of a study again, or error curves of any runs, from their records.

resnet-plot outputs/studies/quick
resnet-plot outputs/digits --output curves.svg --x epoch --smooth 5 --log
resnet-plot outputs/studies/quick --width column    (for a paper)

Several folders are drawn as one figure. Runs that differ only in the seed are averaged, even if
they were trained on different machines.
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from resnet_degradation import __version__
from resnet_degradation.cli.app import flush_output
from resnet_degradation.config.schema import ERROR_CHOICES
from resnet_degradation.figures.drawing import (
    WIDTHS,
    X_COLUMNS,
    Drawing,
    adjust_drawing,
    read_drawing,
)
from resnet_degradation.figures.registry import FIGURES, USED_SETTINGS
from resnet_degradation.figures.style import FORMATS, save_figure
from resnet_degradation.records.run_folder import drop_duplicate_runs, find_runs, read_config
from resnet_degradation.records.summary import is_finished
from resnet_degradation.studies.report import write_paper_tables
from resnet_degradation.studies.results import read_result
from resnet_degradation.system.encoding import accept_any_locale
from resnet_degradation.system.errors import BROKEN_PIPE, UserError, explain, use_one_line_warnings

# Options that are not settings of a drawing.
INPUT_OUTPUT_OPTIONS = ("folders", "output", "formats", "figure", "table")

OTHER_FORMATS = (".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".eps", ".webp", ".bmp")


class Parser(argparse.ArgumentParser):
    """Raises UserError; the parser of the standard library would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: see resnet-plot --help")


def main() -> int:
    """Run `resnet-plot`; return the exit code."""
    accept_any_locale()
    use_one_line_warnings()
    try:
        draw_figure(parse_arguments())
    except BrokenPipeError:
        flush_output()
        return 128 + BROKEN_PIPE
    except (UserError, OSError) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return UserError.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def draw_figure(arguments: argparse.Namespace) -> None:
    """Draw the figure, and print the names of its files.

    Raises UserError if there is nothing to draw, or if a setting is not valid.
    """
    # A wildcard for runs may also match files of figures.
    folders = [path for path in arguments.folders if not path.is_file()]
    if arguments.output and arguments.output.suffix.lower() in OTHER_FORMATS:
        raise UserError(f"--output {arguments.output}: the formats are {', '.join(FORMATS)}")
    if not folders:
        raise UserError("these are files: give the folders of runs or of a study")
    stem = arguments.figure if arguments.width is None else f"{arguments.figure}-paper"
    default_output = folders[0] / stem if len(folders) == 1 else Path(stem)
    runs = drop_duplicate_runs([run for folder in folders for run in find_runs(folder)])
    settings = {k: v for k, v in vars(arguments).items() if k not in INPUT_OUTPUT_OPTIONS}
    refuse_unused(arguments.figure, settings)
    # The drawings differ unless the folders belong to one study on several machines.
    first, *others = map(read_drawing, folders)
    drawing = first if all(other == first for other in others) else Drawing()
    drawing = adjust_drawing(drawing, **settings)
    figure = FIGURES[arguments.figure](runs, drawing)(drawing, False)
    output, formats = arguments.output or default_output, arguments.formats
    if (ending := output.suffix.removeprefix(".")) in FORMATS:
        output, formats = output.with_suffix(""), formats or [ending]
    files = save_figure(figure, output, tuple(formats or FORMATS))
    if arguments.table:
        files += write_table(runs, output.parent)
    print(*files, sep="\n", flush=True)
    if arguments.width is not None:
        print(f"caption: {figure.get_label()}")


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"resnet-degradation {__version__}")
    parser.add_argument("folders", nargs="+", type=Path, help="folders of a study or of runs")
    parser.add_argument(
        "--output",
        type=Path,
        help="path of the figure; its ending, if any, selects the format. By default, the file is "
        "named after the figure (with -paper if --width is given), in the given folder, or in the "
        "current folder if several are given",
    )
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=FORMATS,
        help="file formats (default: the ending of --output, or else all)",
    )
    parser.add_argument(
        "--figure", choices=FIGURES, default="curves", help="which figure (default: curves)"
    )
    parser.add_argument(
        "--width",
        type=parse_width,
        metavar="INCHES",
        help="draw a figure of this width for a paper, with text of 6.7 to 7.5 points and thinner "
        "lines, and without a title (unless --title gives one); print the caption. 'column' is "
        "3.3, for one of two columns (CVPR, ICML, IEEE); 'text' is 6.8, for both",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="also write results.md and results.tex next to the figure, with the mean and standard "
        "deviation over seeds of each net's final errors",
    )
    parser.add_argument(
        "--title",
        help="title of the figure (default: the study's; none with --width)",
    )
    parser.add_argument(
        "--x", choices=X_COLUMNS, help="the horizontal axis (default: the iteration)"
    )
    parser.add_argument(
        "--errors",
        choices=ERROR_CHOICES,
        help="which errors to draw (default: those of the study, or else both)",
    )
    parser.add_argument(
        "--together", action="store_true", help="draw plain and residual nets in one panel"
    )
    parser.add_argument(
        "--smooth",
        type=int,
        metavar="N",
        help="average each point of a training curve with the N - 1 rows before it",
    )
    parser.add_argument(
        "--log", action="store_true", default=None, help="use a logarithmic error axis"
    )
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
    """Raise UserError if the figure does not use one of these settings."""
    chosen = [key for key, value in settings.items() if value is not None and value is not False]
    unused = [key for key in chosen if key not in USED_SETTINGS.get(figure, chosen)]
    if unused:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in unused)
        raise UserError(f"the figure {figure} does not use {options}: draw it without")


def write_table(runs: list[Path], folder: Path) -> list[Path]:
    """Write the final errors of the finished runs; list the others on standard error.

    Raises UserError if no run is finished.
    """
    finished = [run for run in runs if is_finished(run)]
    if not finished:
        raise UserError("there is no table yet: no run is finished")
    if unfinished := [str(run) for run in runs if run not in finished]:
        print(f"not finished, so not in the table: {', '.join(unfinished)}", file=sys.stderr)
    return write_paper_tables(folder, [read_result(read_config(run), run) for run in finished])


def parse_width(text: str) -> float:
    """Parse a width in inches, or its name."""
    try:
        return WIDTHS.get(text) or float(text)
    except ValueError:
        message = f"{text} is not a width: use a number of inches, column or text"
        raise argparse.ArgumentTypeError(message) from None
