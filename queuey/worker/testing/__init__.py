"""Tests of handlers: they run as in a worker, without a server or a store."""

from queuey.worker.testing.kit import Ran, SyncTesting, Testing
from queuey.worker.testing.timeline import MOST

__all__ = ["MOST", "Ran", "SyncTesting", "Testing"]
