"""Redraw training and held-out error curves from recorded metrics alone.

python scripts/plot_curves.py outputs/studies/quick
python scripts/plot_curves.py outputs/digits --output curves --x epoch --smooth 5 --log
"""

import argparse
import sys
from pathlib import Path

from resnet_degradation.config.schema import ERRORS
from resnet_degradation.figures.curves import load_curves, plot_curves
from resnet_degradation.figures.drawing import HORIZONTAL, Drawing, adjusted, read_drawing
from resnet_degradation.figures.style import FORMATS, save_figure
from resnet_degradation.records.run_folder import find_runs, without_copies
from resnet_degradation.system.encoding import accept_any_locale
from resnet_degradation.system.errors import UserError, one_line_warnings

# Options that say what is read and written, not how it is drawn.
NOT_DRAWN = ("folders", "output", "formats")


def main() -> int:
    accept_any_locale()
    arguments = parse()
    one_line_warnings()
    try:
        # Figures may lie among the runs that a wildcard names.
        folders = [path for path in arguments.folders if not path.is_file()]
        if not folders:
            raise UserError("these are files: give the folders of runs or of a study")
        default = folders[0] / "curves" if len(folders) == 1 else Path("curves")
        runs = without_copies([run for folder in folders for run in find_runs(folder)])
        settings = {k: v for k, v in vars(arguments).items() if k not in NOT_DRAWN}
        drawing = read_drawing(folders[0]) if len(folders) == 1 else Drawing()
        drawing = adjusted(drawing, **settings)
        figure = plot_curves(load_curves(runs, drawing.x, drawing.smooth), drawing)
        output = arguments.output or default
        if output.suffix.removeprefix(".") in FORMATS:
            output = output.with_suffix("")
        files = save_figure(figure, output, tuple(arguments.formats))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UserError.exit_code
    print(*files, sep="\n")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders of a study or of runs")
    parser.add_argument(
        "--output",
        type=Path,
        help="path of the figure without ending (default: FOLDER/curves; of several, ./curves)",
    )
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=FORMATS,
        default=list(FORMATS),
        help="endings of the files (default: all)",
    )
    parser.add_argument("--title", help="what to write above the figure (default: the study's)")
    parser.add_argument(
        "--x", choices=HORIZONTAL, help="the horizontal axis (default: the iteration)"
    )
    parser.add_argument(
        "--errors", choices=ERRORS, help="which errors to draw (default: as the study, else both)"
    )
    parser.add_argument(
        "--together", action="store_true", help="plain and residual nets in one panel"
    )
    parser.add_argument(
        "--smooth",
        type=positive,
        metavar="N",
        help="average each point of a training curve with the N - 1 rows before it",
    )
    parser.add_argument("--log", action="store_true", default=None, help="logarithmic error axis")
    parser.add_argument(
        "--dashed", action="store_true", default=None, help="training error dashed, not thin"
    )
    parser.add_argument(
        "--y-max", type=percent, metavar="PERCENT", help="upper end of the error axis"
    )
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def percent(text: str) -> float:
    """An error in percent, above 0."""
    if not 0 < (number := float(text)) <= 100:
        raise argparse.ArgumentTypeError(f"{text} is no error in percent")
    return number


if __name__ == "__main__":
    sys.exit(main())
