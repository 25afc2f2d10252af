"""`python -m queuey` is the command `queuey`."""

import sys

from queuey.cli import run

if __name__ == "__main__":
    sys.exit(run())
