"""Importing this makes a replica run suspects as it runs all jobs, and not in child processes of their own."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from queuey.worker.execution import Execution
from queuey.worker.handlers.attempt import Outcome, Work

_begin = Execution.begin


def begin(self: Execution, work: Work) -> Outcome | Coroutine[Any, Any, Outcome]:
    work.isolated = False
    return _begin(self, work)


Execution.begin = begin  # type: ignore[method-assign]
