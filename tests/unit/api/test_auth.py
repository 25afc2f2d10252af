from __future__ import annotations

import hashlib

import pytest

from queuey.api.http.auth import Gate, require
from queuey.errors import Forbidden, ForeignOrigin, Unauthorized, WrongHost
from queuey.protocol.credentials import ApiKey, Credentials, Grant, parse_grant

OPEN = Gate(Credentials())


def gate(*, anonymous: str = "", **keys: str) -> Gate:
    """A gate for keys whose secret is their name, each with grants like `read+submit@mail`."""
    entries = [
        ApiKey(name, tuple(map(parse_grant, grants.split("+"))), hashlib.sha256(name.encode()).digest())
        for name, grants in keys.items()
    ]
    return Gate(Credentials(None, entries, [Grant(scope) for scope in anonymous.split()]))


@pytest.mark.parametrize(
    "header",
    [
        (b"x-api-key", b"bob"),
        (b"authorization", b"Bearer bob"),
        (b"authorization", b"bearer  bob "),
    ],
)
def test_a_key_is_taken_from_either_header(header: tuple[bytes, bytes]) -> None:
    assert gate(bob="read").admit(dict([header]), "read").name == "bob"


@pytest.mark.parametrize(
    "header",
    [
        (b"x-api-key", b""),
        (b"x-api-key", b"eve"),
        (b"x-api-key", b"bob\xff"),
        (b"authorization", b"bob"),
        (b"authorization", b"Basic bob"),
        (b"authorization", b"Bearer"),
        (b"authorization", b"Bearer "),
        (b"cookie", b"x-api-key=bob"),
    ],
)
def test_anything_else_is_no_key(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(Unauthorized) as caught:
        gate(bob="read").admit(dict([header]), "read")
    assert "eve" not in caught.value.message


def test_a_missing_scope_is_named() -> None:
    with pytest.raises(Forbidden, match=r"lacks the scope submit\."):
        gate(bob="read").admit({b"x-api-key": b"bob"}, "submit")


def test_a_scope_over_one_queue_admits_to_that_queue_alone() -> None:
    caller = gate(bob="submit@mail").admit({b"x-api-key": b"bob"}, "submit")
    require(caller, "submit", "mail")
    with pytest.raises(Forbidden, match="submit over the queue other"):
        require(caller, "submit", "other")
    with pytest.raises(Forbidden, match="submit over all queues"):
        require(caller, "submit", None)


def test_what_needs_no_key_no_key_takes_away() -> None:
    keyed = gate(anonymous="submit", bob="read")
    assert keyed.admit({}, "submit").name == "anonymous"
    assert keyed.admit({b"x-api-key": b"bob"}, "submit").name == "bob"
    with pytest.raises(Unauthorized):
        keyed.admit({}, "read")
    with pytest.raises(Unauthorized):
        keyed.admit({b"x-api-key": b"eve"}, "submit")


def test_an_open_server_wants_the_key_dev_for_admin_alone() -> None:
    for scope in ("submit", "read", "work"):
        assert OPEN.admit({}, scope).name == "anonymous"
    with pytest.raises(Unauthorized):
        OPEN.admit({}, "admin")
    assert OPEN.admit({b"x-api-key": b"dev"}, "admin").name == "admin"


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"LOCALHOST:8000", b"127.0.0.1", b"127.0.0.1:8000", b"127.8.8.8", b"[::1]", b"[::1]:80", None],
)
def test_an_open_server_answers_as_this_machine(host: bytes | None) -> None:
    OPEN.check_origin({} if host is None else {b"host": host}, "POST")


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:8000",
        b"localhost.evil.example",
        b"127.0.0.1.nip.io",
        b"10.0.0.1",
        b"[::2]",
        b"[",
    ],
)
def test_an_open_server_answers_as_nobody_else(host: bytes) -> None:
    for method in ("GET", "POST"):
        with pytest.raises(WrongHost):
            OPEN.check_origin({b"host": host}, method)
    gate(bob="read").check_origin({b"host": host}, "POST")


@pytest.mark.parametrize(
    "origin", [b"http://evil.example", b"null", b"http://127.0.0.1:3000", b"http://localhost:8000"]
)
def test_an_open_server_takes_no_writes_from_other_sites(origin: bytes) -> None:
    headers = {b"host": b"127.0.0.1:8000", b"origin": origin}
    with pytest.raises(ForeignOrigin):
        OPEN.check_origin(headers, "POST")
    OPEN.check_origin(headers, "GET")
    OPEN.check_origin({**headers, b"origin": b"http://127.0.0.1:8000"}, "POST")
    gate(bob="read").check_origin(headers, "POST")


@pytest.mark.parametrize("host", [b"queue.example", b"queue.example:8000", b"10.0.0.7"])
def test_what_is_open_to_all_is_not_open_to_pages_of_other_sites(host: bytes) -> None:
    opened = gate(anonymous="submit", bob="submit")
    headers = {b"host": host, b"origin": b"https://evil.example"}
    with pytest.raises(ForeignOrigin):
        opened.check_origin(headers, "POST")
    opened.check_origin(headers, "GET")
    opened.check_origin({b"host": host}, "POST")
    opened.check_origin({**headers, b"x-api-key": b"bob"}, "POST")
    for scheme in (b"http", b"https"):
        opened.check_origin({b"host": host, b"origin": scheme + b"://" + host}, "POST")


def test_the_key_that_all_know_makes_no_page_less_foreign() -> None:
    headers = {b"host": b"127.0.0.1:8000", b"origin": b"http://evil.example", b"x-api-key": b"dev"}
    with pytest.raises(ForeignOrigin):
        OPEN.check_origin(headers, "POST")


@pytest.mark.parametrize("headers", [{}, {b"x-api-key": b"wrong"}])
def test_a_refusal_names_the_key_only_where_everyone_knows_it(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthorized, match="The key of a server without keys is dev: send 'x-api-key: dev'"):
        OPEN.admit(headers, "admin")
    with pytest.raises(Unauthorized) as caught:
        gate(bob="read").admit(headers, "admin")
    assert "dev" not in caught.value.message
    assert "Authorization: Bearer <key>" in caught.value.message
