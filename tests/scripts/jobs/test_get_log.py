"""get_log: the lines that the attempts of a job have logged."""

from __future__ import annotations

from tests.support.store import Rig

LINE = '1.1 1800000000000 info "begun"\n'


async def test_the_lines_of_a_job(rig: Rig) -> None:
    held = await rig.held(2)
    await rig.broker.jobs.keep_log(rig.shard, [(*held[0], LINE)])
    async with rig.unchanged():
        assert await rig.broker.jobs.get_log(rig.shard, held[0][0]) == LINE
        assert await rig.broker.jobs.get_log(rig.shard, held[1][0]) == ""
        assert await rig.broker.jobs.get_log(rig.shard, rig.new_id()) == ""
