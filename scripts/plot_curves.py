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
        "--output", type=Path, help="path of the figure without ending (default: FOLDER/curves)"
    )
    parser.add_argument("--title", default="")
    arguments = parser.parse_args()
    try:
        runs = [run for folder in arguments.folders for run in find_runs(folder)]
        figure = plot_curves(load_curves(runs), arguments.title)
        files = save_figure(figure, arguments.output or arguments.folders[0] / "curves")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UserError.exit_code
    print(*files, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
