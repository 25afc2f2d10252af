"""`python -m queuey` is the command `queuey`."""

import sys

from queuey.cli import main

if __name__ == "__main__":
    sys.exit(main())
