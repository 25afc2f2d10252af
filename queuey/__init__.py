"""Queuey: a job queue that any program can use over HTTP."""

from queuey.models import Backoff
from queuey.registry import App, Context, Dead, Retry

__version__ = "0.1.0"

__all__ = ["App", "Backoff", "Context", "Dead", "Retry"]
