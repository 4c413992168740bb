"""Measure the time and memory of training: `make bench`; ARGS selects other measurements."""

import argparse
import os
from pathlib import Path


def main() -> None:
    """Measure, print a table, and write it with all numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    measurement = parser.add_mutually_exclusive_group()
    measurement.add_argument("--busy", action="store_true", help="steps while other programs run")
    measurement.add_argument(
        "--profile", action="store_true", help="the parts of a step, fp32 and bf16"
    )
    measurement.add_argument("--precisions", action="store_true", help="steps in fp32 and in bf16")
    measurement.add_argument(
        "--growth", action="store_true", help="how time and memory grow with a net"
    )
    parser.add_argument("--short", action="store_true", help="only check that it works")
    parser.add_argument("--output", default="outputs/bench", help="folder for the results")
    arguments = parser.parse_args()
    options = [
        name
        for name in ("busy", "profile", "precisions", "growth", "short")
        if vars(arguments)[name]
    ]
    command = "make bench" + (f' ARGS="--{" --".join(options)}"' if options else "")
    folder, short = Path(arguments.output), arguments.short
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read when torch is loaded, hence below
    if arguments.busy:
        from busy import measure_busy as measure
    elif arguments.profile:
        from operations import measure_profile as measure
    elif arguments.precisions:
        from precisions import measure_precisions as measure
    elif arguments.growth:
        from growth import measure_growth as measure
    else:
        from compare import compare as measure
    measure(folder, short, command)


if __name__ == "__main__":
    main()
