"""What a command of `queuey` printed, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Ran(NamedTuple):
    """The exit code, stdout and stderr of one command."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What `-o json` printed."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What `-o jsonl` printed."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]
