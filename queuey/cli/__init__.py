"""The command line, `queuey`: a root in `app`, a module for each group of commands, read when one of them runs."""

from queuey.cli.app import main, run

__all__ = ["main", "run"]
