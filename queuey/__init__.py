"""Queuey: a job queue that any program can use over HTTP."""

__version__ = "0.1.0"
