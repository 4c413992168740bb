"""Redraw training and held-out error curves from recorded metrics alone.

python scripts/plot_curves.py outputs/studies/quick
python scripts/plot_curves.py outputs/digits --output curves
"""

import argparse
import sys
from pathlib import Path

from resnet_degradation.errors import UserError
from resnet_degradation.figures.curves import load_curves, plot_curves, save_figure
from resnet_degradation.runs import find_runs


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders of a study or of runs")
    parser.add_argument(
        "--output",
        type=Path,
        help="path of the figure without ending (default: FOLDER/curves; of several, ./curves)",
    )
    parser.add_argument("--title", default="", help="what to write above the figure")
    arguments = parser.parse_args()
    try:
        # Figures may lie among the runs that a wildcard names.
        folders = [path for path in arguments.folders if not path.is_file()]
        default = folders[0] / "curves" if len(folders) == 1 else Path("curves")
        runs = [run for folder in folders for run in find_runs(folder)]
        figure = plot_curves(load_curves(runs), arguments.title)
        files = save_figure(figure, arguments.output or default)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UserError.exit_code
    print(*files, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
