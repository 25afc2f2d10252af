"""The state machine sees what can go wrong with batches of items: each of these faults in add_items turns it red."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuey.store.scripts import Scripts
from tests.properties.batches.rules import ItemMachine
from tests.properties.running import run_machine
from tests.support.scripts.faulty import scripts_with_fault
from tests.support.store import Server

SEEDS = (301, 302, 303, 304, 305, 306)
FAULTS = {
    "an item that is sent again is added again": (
        "answers[i] = holder and {'there'",
        "answers[i] = false and {'there'",
    ),
    "an item is there twice in one call": (
        "remembered[item[2]] and remembered[item[2]][1] or holders[i]",
        "holders[i]",
    ),
    "a batch that was cancelled, or has run, gets items": (
        "if due <= now or tonumber(redis.call('ZSCORE', scheduled_key(queue, lane), id) or 0) ~= due then",
        "if due <= now then",
    ),
    "a batch gets one item too many": ("if batch.count >= batch.most then", "if batch.count > batch.most then"),
    "an item overwrites the end of the one before": ("batch.size - 2, ',' .. texts", "batch.size - 3, ',' .. texts"),
    "a full batch waits": ("    zrem(scheduled_key(batch.queue, batch.lane), batch.id)\n", ""),
    "a full batch stays open": ("batch.is_due, open[batch.name] = true, false", "batch.is_due = true"),
    "a batch is larger than it may be": (
        "if batch and batch.size + batch.bytes + #payload > max_bytes then",
        "if false then",
    ),
    "items that close a batch are lost": ("texts = ',' .. texts end", "texts = ']}' end"),
}


@pytest.mark.timeout(300)  # a seed takes 3 to 12 seconds
@pytest.mark.parametrize("fault", FAULTS)
def test_the_state_machine_sees(server: Server, tmp_path: Path, fault: str) -> None:
    scripts = scripts_with_fault(tmp_path, "add_items.lua", *FAULTS[fault])
    with pytest.raises((AssertionError, KeyError, ValueError)):  # what reads the store may stumble first
        run_seeds(server.url, scripts)


def run_seeds(url: str, scripts: Scripts) -> None:
    for seed in SEEDS:
        run_machine(url, 1, scripts, seed, kind=ItemMachine, shrink=False)
