"""Importing this makes a copy of a child process, which a handler has forked, go on as if it were the child."""

from tests.faults.controls.children import change_children

change_children("from queuey import forks\nforks.keep = lambda kept: None\nforks.end_copy = lambda type: None")
