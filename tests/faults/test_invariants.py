"""Each invariant turns red when it is broken, names the job, and is green in a world where all is well."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from queuey.protocol import ids
from queuey.protocol.records import encode_key
from tests.faults.evidence.invariants import CHECKS, NS, check
from tests.faults.evidence.ledger import Answered, Ended, Sent
from tests.faults.evidence.world import TTL, World
from tests.faults.faults.base import Fault
from tests.faults.faults.stores import KillStore, KillStoreInRewrite
from tests.faults.load.handlers import Deed

Spoil = Callable[[World, str], object]
OK, FAILS = Deed(), Deed(fails=99)


def add_dead(world: World, key: str = "") -> None:
    job_id = world.add(FAILS, status="dead_letter", key=key, max_attempts=1)
    world.view.jobs[job_id].state["a"] = "1"


def peaceful() -> World:
    """One of each kind."""
    world = World()
    world.add(OK, key="k")
    world.add(OK)
    add_dead(world)
    world.add(OK, status="cancelled")
    return world


def test_a_world_in_which_all_is_well() -> None:
    assert check(peaceful().evidence()) == []


def state(**fields: object) -> Spoil:
    return lambda world, job_id: world.view.jobs[job_id].state.update({k: str(v) for k, v in fields.items()})


def vanish(world: World, job_id: str) -> None:
    """As if it had never been there, counters included."""
    del world.view.jobs[job_id]
    world.view.places[0, "done:default"].remove(job_id)
    world.view.queues[0, "default"]["done_bytes"] = str(100 * len(world.view.places[0, "done:default"]))
    world.view.counters["enqueued"] -= 1
    world.view.counters["claimed"] -= 1
    world.view.counters["succeeded"] -= 1


def end_as(status: str) -> Spoil:
    def spoil(world: World, job_id: str) -> None:
        job = world.view.jobs[job_id]
        job.state["s"] = status
        if status == "d":
            world.view.places[0, "done:default"].remove(job_id)
            world.view.places[0, "dead:default"].append(job_id)
            world.view.queues[0, "default"] = {
                f"{kind}_bytes": str(100 * len(world.view.places[0, f"{kind}:default"])) for kind in ("done", "dead")
            }

    return spoil


def suspect(*kinds: str) -> Spoil:
    return lambda world, job_id: world.view.jobs[job_id].kinds.extend(kinds)


def unfinished(world: World, job_id: str) -> None:
    world.view.jobs[job_id].state.update(s="r", h="x")


def result_of_another(world: World, job_id: str) -> None:
    world.view.jobs[job_id].result = {"token": "2.b"}


def result_of_nobody(world: World, job_id: str) -> None:
    result_of_another(world, job_id)
    world.view.jobs[job_id].state["p"] = "2.b"


def never_run(world: World, job_id: str) -> None:
    world.events = [event for event in world.events if not (isinstance(event, Ended) and event.job == job_id)]


def second_of_key(world: World, job_id: str) -> None:
    """Half a TTL after the first."""
    other = world.add(OK, key="k")
    world.view.jobs[other].head["r"] = str(world.view.jobs[job_id].created_at + TTL // 2)
    world.view.jobs[other].state["b"] = str(world.view.jobs[job_id].created_at + TTL)


def dedupe(holder: Callable[[World, str], str], ttl: int = 100) -> Spoil:
    return lambda world, job_id: world.view.dedupe.update({encode_key("k"): (holder(world, job_id), ttl)})


def two_unfinished_of_unique_key(world: World, job_id: str) -> None:
    """The second was made before the first had finished."""
    first, second = (world.add(OK, unique={"key": "q"}) for _ in range(2))
    world.view.jobs[second].head["r"] = str(world.view.jobs[first].number("f") - 1)


def unique_key_of_a_finished_job(world: World, job_id: str) -> None:
    encoded = f"u:{encode_key('q')}"
    world.view.jobs[job_id].head["k"] = encoded
    world.view.dedupe[encoded] = (job_id, 100)


def overtaken(world: World, job_id: str) -> None:
    other = world.add(OK)
    world.view.jobs[job_id].state["b"] = str(world.view.jobs[other].number("b") + 1)


def early(world: World, job_id: str) -> None:
    job = world.view.jobs[job_id]
    job.head |= {"c": job.head["r"], "r": str(job.created_at + 500)}


def delayed_less_than_asked(world: World, job_id: str) -> None:
    other = world.add(OK, delay=0.4)
    world.view.jobs[other].head |= {"c": world.view.jobs[other].head["r"]}


def started_too_soon(world: World, job_id: str) -> None:
    """The store's records are as they should be, and the handler began too early all the same."""
    other = world.add(OK, delay=0.4)
    job = world.view.jobs[other]
    job.head |= {"c": job.head["r"], "r": str(job.created_at + 400)}
    job.state |= {"b": str(job.created_at + 450), "f": str(job.created_at + 500)}


def refused(world: World, job_id: str) -> None:
    world.answer(job_id, outcome="fail", code="503", said="")


def in_place(place: str) -> Spoil:
    return lambda world, job_id: world.view.places.setdefault((0, place), []).append(job_id)


def set_aside(world: World, job_id: str, type: str = "t", names: str | None = None) -> None:
    world.view.places.setdefault((0, f"aside:default:default:{type}"), []).append(job_id)
    world.view.queues.setdefault((0, "default"), {})["aside"] = f" d:{type}" if names is None else f" {names}"


def waiting_aside(world: World, names: str | None = None, type: str = "t") -> str:
    """Set a waiting job of the type `t` aside. Returns its id."""
    job_id = world.add(OK)
    world.view.places[0, "done:default"].remove(job_id)
    world.view.jobs[job_id].type = "t"
    world.view.jobs[job_id].state.clear()
    set_aside(world, job_id, type, names)
    return job_id


def stranger_in_store(world: World, job_id: str) -> None:
    world.view.jobs[ids.new_id()] = world.view.jobs[job_id]


def stranger_in_ledger(world: World, job_id: str) -> None:
    world.run(ids.new_id(), "1.a", 5, "ok")


def replayed(acknowledged: int, counted: int) -> Spoil:
    def spoil(world: World, job_id: str) -> None:
        world.events += [
            Sent(NS, 99, "replay"),
            Answered(2 * NS, 99, "replay", "ok", "200", said=str(acknowledged)),
        ]
        world.count("replayed", counted)
        world.count("dead", counted)

    return spoil


FINISHED = "2027-01-15T08:00:00Z"
BROKEN: list[tuple[int, str, Spoil]] = [
    (0, "was answered 500", lambda world, job_id: world.answer(job_id, outcome="unknown", code="500")),
    (0, "was answered 422", lambda world, job_id: world.answer(job_id, outcome="fail", code="422")),
    (1, "is not in the store", vanish),
    (1, "is running", unfinished),
    (1, "nobody cancelled it", end_as("c")),
    (1, "is dead after 0 of 5 attempts and 0 crashes", end_as("d")),
    (1, "succeeded after 1 failed attempts and not after 0", state(a=1)),
    (1, "was cancelled, as a reply said", lambda world, job_id: world.cancel(job_id, "cancelled", 5000)),
    (1, "no handler came to its end", never_run),
    (1, "was seen as cancelled", lambda world, job_id: world.see(job_id, "cancelled", FINISHED)),
    (1, "was seen as succeeded", lambda world, job_id: world.see(job_id, "succeeded", FINISHED)),
    (1, "answered with 404", lambda world, job_id: world.see(job_id, "missing")),
    (2, "4 runs were begun and 5 ended", lambda world, job_id: world.count("succeeded")),
    (2, "claims were counted", lambda world, job_id: world.count("claimed")),
    (2, "with the result of 2.b", result_of_another),
    (2, "whose handler did not come to its end", result_of_nobody),
    (2, "2 replays were acknowledged and 1 counted, with up to 0 by retries", replayed(2, 1)),
    (2, "1 replays were acknowledged and 2 counted, with up to 0 by retries", replayed(1, 2)),
    (3, "has 6 of 5 attempts", state(a=6)),
    (3, "has 11 crashes", state(x=11)),
    (3, "was proven to be a poison job, and went on", suspect("lease_lapsed", "lease_lapsed", "worker_died")),
    (3, "as attempt 6 of 5", lambda world, job_id: world.run(job_id, "1.a", 5, "ok", attempt=6)),
    (4, "has two tokens, 1.a and 1.b", lambda world, job_id: world.run(job_id, "1.b", 5, "ok")),
    (4, "the store knows of 1 claims", lambda world, job_id: world.run(job_id, "2.b", 5, "ok")),
    (4, "begun 2 times with the token 1.a", lambda world, job_id: world.run(job_id, "1.a", 5, "ok")),
    (4, "still has a token", state(h="x")),
    (5, "held until", second_of_key),
    (5, "which is not a job of that key", dedupe(lambda world, job_id: list(world.view.jobs)[1])),
    (5, "is kept for -1 ms", dedupe(lambda world, job_id: job_id, -1)),
    (5, "which is cancelled", end_as("c")),
    (5, "with the unique key 'q'", two_unfinished_of_unique_key),
    (5, "which is succeeded", unique_key_of_a_finished_job),
    (
        5,
        "has not its key ('k', '')",
        lambda world, job_id: world.answer(job_id, said=list(world.view.jobs)[1], deduplicated=True),
    ),
    (6, "was before it", overtaken),
    (7, "and due at", early),
    (7, "was to wait 400 ms", delayed_less_than_asked),
    (7, "with a delay of 400 ms", started_too_soon),
    (8, "its calls were answered", refused),
    (8, "5 jobs were counted and 4 are there", lambda world, job_id: world.count("enqueued")),
    (8, "has no job", lambda world, job_id: world.view.lone_states.add(job_id)),
    (8, "nobody knows the key k", lambda world, job_id: world.view.strangers.append("k")),
    (8, "the claim c is kept for -1 ms", lambda world, job_id: world.view.claims.update(c=-1)),
    (8, "is in scheduled:default:low", in_place("scheduled:default:low")),
    (8, "is in leases:default", in_place("leases:default")),
    (8, "is in ready:default:low of shard 0, and is succeeded", in_place("ready:default:low")),
    (8, "1 tombstones, and", lambda world, job_id: in_place("ready:default:low")(world, list(world.view.jobs)[3])),
    (8, "is in aside:default:low:t of shard 0, and is succeeded", in_place("aside:default:low:t")),
    (8, "1 tombstones, and", lambda world, job_id: set_aside(world, list(world.view.jobs)[3], "t")),
    (8, "1 entries, and the names of its queue are ['d:other']", lambda world, job_id: waiting_aside(world, "d:other")),
    (8, "and is a t of the lane (0, 'default', 'default')", lambda world, job_id: waiting_aside(world, "d:u", "u")),
    (8, "is in several lists", lambda world, job_id: in_place("ready:default:default")(world, waiting_aside(world))),
    (8, "and in ['done:default', 'dead:default'], not in", in_place("dead:default")),
    (8, "and in no place", lambda world, job_id: world.view.places.clear()),
    (8, "bytes of done jobs", lambda world, job_id: world.view.queues.clear()),
    (9, "was not terminal 5.0 s after the healing", lambda world, job_id: world.rest.late.append(job_id)),
    (10, "is in the store, and no client made it", stranger_in_store),
    (10, "is in a line `Started`, and no client made it", stranger_in_ledger),
]


@pytest.mark.parametrize(("number", "message", "spoil"), BROKEN, ids=[f"{n}-{text[:30]}" for n, text, _ in BROKEN])
def test_a_broken_invariant_is_noticed(number: int, message: str, spoil: Spoil) -> None:
    world = peaceful()
    job_id = next(iter(world.view.jobs))
    spoil(world, job_id)
    found = [violation.message for violation in check(world.evidence()) if violation.invariant == number]
    assert any(message in text for text in found), found


def test_every_invariant_has_been_broken() -> None:
    """15 is broken in test_ticks.py."""
    assert {number for number, _, _ in BROKEN} == set(CHECKS) - {15} == set(range(11))


# --- what is allowed ----------------------------------------------------------------------------------------------


def test_an_unknown_call_may_have_landed_or_not() -> None:
    world = peaceful()
    job_id = next(iter(world.view.jobs))
    world.answer(job_id, outcome="unknown", code="ReadTimeout", said="")
    assert check(world.evidence()) == []
    world = peaceful()
    second = list(world.view.jobs)[1]
    world.answer(second, outcome="unknown", code="ReadTimeout", said="")
    vanish(world, second)
    assert check(world.evidence()) == []


def test_a_waiting_job_may_be_set_aside_in_the_list_of_its_type_or_of_those_without_a_name() -> None:
    for type, names in (("t", "h:u d:t"), ("*", "d:* d:t"), ("!", "d:!")):
        world = peaceful()
        waiting_aside(world, names, type)
        assert [violation for violation in check(world.evidence()) if violation.invariant == 8] == []


def test_the_tombstones_of_a_lane_are_those_of_all_its_lists() -> None:
    world = peaceful()
    cancelled = list(world.view.jobs)[3]
    set_aside(world, cancelled)
    in_place("ready:default:default")(world, cancelled)
    world.view.queues[0, "default"]["tombstones_default"] = "2"
    assert check(world.evidence()) == []


def test_types_are_served_one_by_one() -> None:
    world = peaceful()
    first = next(iter(world.view.jobs))
    overtaken(world, first)
    world.view.jobs[first].type = "another"
    assert check(world.evidence()) == []


def test_a_key_may_be_taken_again_after_its_ttl_and_after_a_death() -> None:
    world = World()
    world.add(OK, key="k")
    for _ in range(TTL // 1000):
        world.add(OK)
    world.add(OK, key="k")
    assert check(world.evidence()) == []
    world = World()
    add_dead(world, "j")
    world.add(OK, key="j")
    assert check(world.evidence()) == []


def test_a_unique_key_may_be_taken_again_after_the_end_and_after_a_replay() -> None:
    world = World()
    for _ in range(2):
        world.add(OK, unique={"key": "q"})
    assert check(world.evidence()) == []
    world = World()
    two_unfinished_of_unique_key(world, "")
    world.view.jobs[next(iter(world.view.jobs))].state["y"] = "replay"
    assert check(world.evidence()) == []


def test_a_job_that_was_retried_has_no_place_in_the_order() -> None:
    world = peaceful()
    job_id = next(iter(world.view.jobs))
    overtaken(world, job_id)
    world.view.jobs[job_id].kinds = ["exception"]
    assert check(world.evidence()) == []


def test_a_dead_job_may_have_been_replayed_since_it_was_seen() -> None:
    world = peaceful()
    dead = list(world.view.jobs)[2]
    world.see(dead, "dead_letter", FINISHED)
    assert [violation.invariant for violation in check(world.evidence())] == [1]
    world.view.jobs[dead].state["y"] = "replay"
    replayed(1, 1)(world, dead)
    assert check(world.evidence()) == []


def test_what_is_said_of_times_is_left_out_when_the_stores_clock_was_set() -> None:
    world = peaceful()
    job_id = next(iter(world.view.jobs))
    overtaken(world, job_id)
    delayed_less_than_asked(world, job_id)
    evidence = world.evidence()
    assert {violation.invariant for violation in check(evidence)} == {6, 7}
    evidence.clock_moved = True
    assert check(evidence) == []


@pytest.mark.parametrize("fault", [KillStore, KillStoreInRewrite])
def test_a_killed_store_may_cost_a_claim_that_no_worker_has_read(fault: type[Fault]) -> None:
    """The claim is on disk and its reply is lost. A crash of a job that ran is still a fault."""
    world = World()
    unread, ran = world.add(OK), world.add(OK)
    world.view.jobs[unread].state.update(n="2", x="1")
    world.view.jobs[ran].state.update(n="1", x="1")
    assert list(fault(Random(0)).expect(world.evidence())) == [
        f"{ran} has 1 crashes, and 0 of its claims had not begun"
    ]
