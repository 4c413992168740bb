"""Draw the figures of a study again, or error curves of any runs: the command `resnet-plot`."""

import sys

from resnet_degradation.cli.plot import main

if __name__ == "__main__":
    sys.exit(main())
