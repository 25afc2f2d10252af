"""Importing this makes the child processes of a replica end at SIGTERM, as a program does by default."""

from tests.faults.controls.children import change_children

change_children("from queuey.worker.executors import child; child._leave_signals_to_parent = lambda: None")
