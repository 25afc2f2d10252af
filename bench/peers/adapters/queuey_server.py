"""Queuey's worker is its server; both of its scripts start it so."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import common


def replace_by_server(*flags: str) -> NoReturn:
    """Become `queuey serve` on the store of BENCH_URL, with more flags."""
    command = [sys.executable, "-m", "queuey", "serve", "--app", "bench.peers.adapters.queuey_app:app"]
    command += ["--redis", common.URL, "--port", str(common.PORT), "--log-level", "warning", *flags]
    os.execv(sys.executable, command)


def worker() -> NoReturn:
    replace_by_server("--concurrency", str(common.CONCURRENCY))


def serve() -> NoReturn:
    replace_by_server("--roles", "api")
