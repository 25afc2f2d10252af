"""The plain report of results: it is read exactly if the reference reads each of its jobs, and then alike."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuey.errors import QueueyError
from queuey.protocol.models import MAX_LEASED
from queuey.services.leases import plain_results
from queuey.services.leases.plain_results import PlainResults
from queuey.services.leases.requests import LeaseRequests
from queuey.store.broker.calls import MAX_BATCH

DEPTH: Final = 4
LIMIT: Final = 40
IDS: Final = [b"0%d%026d" % (number % 8, number) for number in range(9)]
PLAIN: Final = [
    *(b"null", b"1", b'"text"', b'{"n":49}', b"-1.5e3", b"[[[[1]]]]", b'{"a":[{"b":[]}]}', b'"[[[[[[[["'),
    *(b'"\\u00e4\\n\\r"', '"\u00e4\u2028"'.encode(), b'"' + b"x" * 38 + b'"', b'{"jobs":[1]}', b" [ 1 , 2 ] "),
]
ODD: Final = [
    *(b"[[[[[1]]]]]", b"1e999", b'"\\ud800"', b'"\xff"', b"nul", b"01", b"", b'"', b"[1", b"1,2", b"1]", b"\x00"),
    *(b'"' + b"x" * 39 + b'"', b'"' + "\u00e4".encode() * 20 + b'"', b"[1,\n2]", b"[1,\r2]", b'"\n"'),
]
TOKENS: Final = [b"1.J9TQ2M7RXKD4", b"2.a-_", b"1234567890123456.x"]


def item(number: int, token: bytes = TOKENS[0], result: bytes = b"1", more: bytes = b"") -> bytes:
    return b'{"id":"%b","token":"%b","result":%b%b}' % (IDS[number], token, result, more)


def batch(*items: bytes) -> bytes:
    return b'{"jobs":[%b]}' % b",".join(items)


GOOD: Final = [item(number) for number in range(4)]
ODD_ITEMS: Final = [
    *(b'{"id":"%b"}' % IDS[0], b'{"token":"1.a"}', b"{}", b"1", b"null", b"", b"[]", b'{"id":1,"token":"1.a"}'),
    b'{"id":"short","token":"1.a"}',
    b'{"id":"%b","token":"1.a"}' % IDS[0].replace(b"0", b"U"),
    b'{"id":"%b","token":"1.a"}' % (b"009" + IDS[0][3:]),
    b'{"id":"%b0","token":"1.a"}' % IDS[0],
    b'{"id":"%b\\n","token":"1.a"}' % IDS[0],
    *(item(0, token) for token in (b"", b"1", b"x.1", b"1.a b", b"12345678901234567.x", b"1.a\\n", b"1." + b"x" * 65)),
    item(0, more=b',"extra":1'),
    *(item(0, more=b',"%b":"1.b"' % name) for name in (b"token", b"tok\\u0065n")),
    *(b'{"%b":"a fault",%b' % (name, item(0)[1:]) for name in (b"token", b"tok\\u0065n", b"id")),
    item(0, more=b',"result":[[[[[1]]]]]'),
    b'{"result":[[[[[1]]]]],' + item(0)[1:],
    b'{"id":[[[[[1]]]]],' + item(0)[1:],
]

plain = PlainResults(DEPTH, LIMIT)
requests = LeaseRequests(DEPTH, LIMIT)


def reference(text: bytes) -> list[tuple[str, str, str]] | None:
    """What is stored of each job, or None if the body or a job of it is refused."""
    try:
        given = requests.complete(text)
    except QueueyError:
        return None
    stored = []
    for one in given.items:
        if given.single or isinstance(one, QueueyError):
            return None
        result = bytes(one.result).decode()
        stored.append((one.id, one.token, "" if result == "null" else result))
    return stored


def read(text: bytes) -> list[tuple[str, str, str]] | None:
    found = plain.read(text)
    return None if found is None else list(zip(found.ids, found.tokens, found.results, strict=True))


def without_result(number: int) -> bytes:
    return b'{"token":"2.a", "id" : "%b"}' % IDS[number]


good_items = st.builds(item, st.sampled_from(range(9)), st.sampled_from(TOKENS), st.sampled_from(PLAIN)) | st.builds(
    without_result, st.sampled_from(range(9))
)
odd_items = st.sampled_from(ODD_ITEMS) | st.builds(item, st.just(0), st.just(TOKENS[0]), st.sampled_from(ODD))


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.lists(good_items, min_size=1, max_size=12))
def test_a_plain_batch_is_read_as_the_reference_reads_it(items: list[bytes]) -> None:
    found = read(batch(*items))
    if len(items) < plain_results.WORTH_A_GROUP:
        assert found is None
    else:
        assert found == reference(batch(*items)) is not None


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.lists(good_items, min_size=4, max_size=8), st.lists(odd_items, min_size=1, max_size=2), st.randoms())
def test_a_batch_with_an_odd_job_is_left_to_the_reference(good: list[bytes], odd: list[bytes], order: object) -> None:
    items = good + odd
    order.shuffle(items)  # type: ignore[attr-defined]
    found = read(batch(*items))
    assert found is None or found == reference(batch(*items))


@pytest.mark.parametrize("odd", [*ODD_ITEMS, *(item(0, result=result) for result in ODD)])
def test_every_odd_job_is_noticed_at_every_place(odd: bytes) -> None:
    for at in range(5):
        items = [*GOOD[:at], odd, *GOOD[at:]]
        assert read(batch(*items)) is None, odd


@pytest.mark.parametrize("good", PLAIN)
def test_every_result_that_can_be_stored_is_plain(good: bytes) -> None:
    found = read(batch(*GOOD, item(5, result=good)))
    assert found is not None
    assert found == reference(batch(*GOOD, item(5, result=good)))
    assert found[4] == (IDS[5].decode(), TOKENS[0].decode(), "" if good == b"null" else good.strip().decode())


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b" ", b"{", b"[]", b"{}", b'{"jobs":1}', b'{"jobs":[]}', b'{"jobs":null}', b'"jobs"', GOOD[0]),
        b'{"jobs":' + b"[" * 1_000_000,
        b'{"jobs":[' + b'{"id":' * 100_000,
        batch(*GOOD)[:-1],
        batch(*GOOD) + b"x",
        batch(*GOOD).replace(b'{"jobs"', b'{"more":1,"jobs"'),
        batch(*GOOD)[:-1] + b',"more":1}',
        batch(*GOOD)[:-1] + b',"jobs":[%b]}' % item(0),
        batch(*[item(0, result=b'{"a":1}')] * 4)[:-1] + b',"jobs":[%b]}' % b",".join(GOOD),
        batch(*GOOD * 126),
        b"\xff" + batch(*GOOD),
        batch(*GOOD) + b"\xff",
        b"\xef\xbb\xbf" + batch(*GOOD),
        batch(*GOOD) + b" " * plain_results.MAX_PLAIN,
    ],
)
def test_any_other_body_is_left_to_the_reference(text: bytes) -> None:
    assert read(text) is None


def test_the_last_of_two_results_counts() -> None:
    text = batch(*GOOD, b'{"result":1e999,' + item(5, result=b"2")[1:])
    assert read(text) == reference(text) is not None


def test_white_space_around_values_makes_no_difference() -> None:
    text = b' {\n "jobs" : [ ' + b" ,\r\n\t".join(GOOD) + b" ]\n} "
    assert read(text) == reference(text) is not None


def test_the_smallest_batch_is_read() -> None:
    text = batch(*(b'{"id":"%b","token":"1.x"}' % IDS[number] for number in range(plain_results.WORTH_A_GROUP)))
    assert read(text) == reference(text) is not None


def test_the_largest_batch_fits_in_one_call() -> None:
    assert MAX_LEASED <= MAX_BATCH


def test_the_largest_batch_is_read_with_every_job_checked() -> None:
    items = [item(number % 9) for number in range(500)]
    assert read(batch(*items)) == reference(batch(*items)) is not None
    for at in (0, 99, 100, 250, 499):
        assert read(batch(*items[:at], item(0, result=b"1e999"), *items[at + 1 :])) is None
        assert read(batch(*items[:at], item(0, result=b"[[[[[]]]]]"), *items[at + 1 :])) is None
