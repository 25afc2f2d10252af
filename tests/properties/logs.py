"""The state machine with a rule for the lines that attempts log. Their key lives exactly as long as the job."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from queuey.protocol.stored.job_log import MAX_BYTES, MAX_LINES
from tests.properties import strategies as draw
from tests.properties.driver import one_lease_each
from tests.properties.groups import GroupMachine
from tests.properties.model.model import Model

TEXTS = ("begun", "x" * 900, "")
"""Of the long ones, four fit."""
line_lists = st.lists(st.sampled_from(TEXTS), max_size=6) | st.sampled_from(([""] * 60, ["n"] * 99))


def lines(token: str, texts: Sequence[str]) -> str:
    claim = token.partition(".")[0]
    return "".join(f'{claim}.1 {number} info "{text}"\n' for number, text in enumerate(texts))


def keep_log(model: Model, items: Sequence[tuple[str, str, str]]) -> list[str]:
    return [_keep_log(model, *item) for item in items]


def _keep_log(model: Model, job_id: str, token: str, text: str) -> str:
    job = model.jobs.get(job_id)
    if job is None or (job.token != token and (job.previous != token or job.outcome == "crashed")):
        return "lost"
    claim = int(token.partition(".")[0])
    others = [line for line in job.log.splitlines() if int(line.partition(".")[0]) != claim]
    kept, given = [line for line in job.log.splitlines() if line not in others], text.splitlines()
    if kept and given and given[-1] in kept and kept[-1] not in given:
        return "ok"  # a late copy
    merged = sorted(others + given, key=lambda line: int(line.partition(".")[0]))
    fitting: list[str] = []
    size = 0
    for line in reversed(merged[-MAX_LINES:]):
        size += len(line.split(" ", 3)[3])
        if size > MAX_BYTES:
            break
        fitting.insert(0, line)
    job.log = "".join(f"{line}\n" for line in fitting)
    return "ok"


class LogMachine(GroupMachine):
    @precondition(lambda self: any(model.leases or model.dead or model.done for model in self.models))
    @rule(shard=draw.shards, numbers=draw.numbers, texts=line_lists, twice=st.booleans())
    def log(self, shard: int, numbers: list[int], texts: list[str], twice: bool) -> None:
        shard, model = self.on(shard, lambda model: model.leases or model.dead or model.done)
        ended = [(job_id, job.previous) for job_id, job in model.jobs.items() if job.previous]
        held = [*self.pick_held(model, numbers), *(ended[number % len(ended)] for number in numbers if ended)]
        for sent in (texts, texts[: len(texts) // 2]):  # the second is as a late copy of an earlier call
            items = [(job_id, token, lines(token, sent)) for job_id, token in held if sent or not texts]
            self.hold(
                partial(self.broker.jobs.keep_log, shard, items),
                partial(keep_log, model, items),
                twice and one_lease_each(held),
            )
