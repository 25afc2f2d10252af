"""API keys: their entries, their scopes, and the addresses that a server may listen on."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from queuey.errors import SettingsError
from queuey.protocol.credentials import (
    SCOPES,
    ApiKey,
    Credentials,
    Grant,
    Principal,
    is_loopback,
    new_key,
    parse_api_keys,
    parse_grant,
    redact_urls,
)


def entry(name: str, scopes: str, secret: str) -> str:
    return f"{name}:{scopes}:{hashlib.sha256(secret.encode()).hexdigest()}"


def key(name: str, scopes: str, secret: str) -> ApiKey:
    return parse_api_keys([entry(name, scopes, secret)])[0]


def test_an_entry_names_its_scopes_and_queues() -> None:
    parsed = key("ci", "submit+read@emails+read@emails", "s")
    assert (parsed.name, parsed.grants) == ("ci", (Grant("submit"), Grant("read", "emails")))
    assert repr(parsed) == "ApiKey(ci:submit+read@emails)"


@pytest.mark.parametrize(
    ("grants", "scope", "queue", "allowed"),
    [
        ("submit", "submit", "emails", True),
        ("submit", "submit", None, True),
        ("submit", "read", "emails", False),
        ("submit", "admin", None, False),
        ("read@emails", "read", "emails", True),
        ("read@emails", "read", "images", False),
        ("read@emails", "read", None, False),
        ("read@emails", "submit", "emails", False),
        ("admin", "work", "emails", True),
        ("admin", "admin", None, True),
        ("admin@emails", "submit", "emails", True),
        ("admin@emails", "admin", "emails", True),
        ("admin@emails", "admin", None, False),
        ("admin@emails", "submit", "images", False),
        ("read@emails+read@images", "read", "images", True),
        ("read@emails+submit", "read", None, False),
    ],
)
def test_what_a_key_allows(grants: str, scope: str, queue: str | None, allowed: bool) -> None:
    principal = Principal("p", key("p", grants, "s").grants)
    assert principal.allows(scope, queue) is allowed


def test_only_the_secret_identifies_a_key() -> None:
    keys = (key("one", "submit", "secret-1"), key("two", "read@q", "secret-2"))
    known = Credentials("the-admin-key", keys)
    assert known.identify("secret-1") == Principal("one", (Grant("submit"),))
    assert known.identify("secret-2") == Principal("two", (Grant("read", "q"),))
    assert known.identify("the-admin-key") == Principal("admin", (Grant("admin"),))
    for stranger in (None, "", "secret-3", "secret-1 ", "dev", keys[0].digest.hex(), "\ud800", "ü"):
        assert known.identify(stranger) is None
    assert not known.anonymous.allows("submit")


def test_identify_compares_every_key_whichever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = hmac.compare_digest

    def compare(known: bytes, digest: bytes) -> bool:
        compared.append(known)
        return real(known, digest)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = [key(f"k{number}", "read", f"s{number}") for number in range(5)]
    known = Credentials(api_keys=keys)
    for presented in ("s0", "s4", "nobody"):
        compared.clear()
        known.identify(presented)
        assert compared == [one.digest for one in keys]


def test_without_keys_all_but_admin_is_open_and_the_admin_key_is_dev() -> None:
    known = Credentials()
    assert known.open
    assert [scope for scope in SCOPES if known.anonymous.allows(scope)] == ["submit", "read", "work"]
    admin = known.identify("dev")
    assert admin is not None
    assert admin.allows("admin")


@pytest.mark.parametrize("closed", [Credentials("k"), Credentials(api_keys=[key("a", "read", "s")])])
def test_with_any_key_nothing_is_open_and_dev_is_nobody(closed: Credentials) -> None:
    assert not closed.open
    assert not any(closed.anonymous.allows(scope, "q") for scope in SCOPES)
    assert closed.identify("dev") is None


def test_anonymous_scopes_are_those_that_were_asked_for() -> None:
    grants = [Grant("submit"), Grant("read", "emails")]
    for known in (Credentials("k", anonymous=grants), Credentials(anonymous=grants)):
        assert known.anonymous == Principal("anonymous", tuple(grants), "none")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("LocalHost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "fe80::1", "queuey.example", "127.1", "")],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_server_without_keys_listens_only_on_loopback() -> None:
    for known in (Credentials(), Credentials(anonymous=[Grant("submit")])):
        assert known.check_bind("127.0.0.1") is None
        with pytest.raises(SettingsError, match="queuey key new") as caught:
            known.check_bind("0.0.0.0")
        assert "0.0.0.0" in caught.value.message


def test_a_short_key_is_warned_about_where_others_can_try_it() -> None:
    assert Credentials("dev").check_bind("localhost") is None
    warning = Credentials("dev").check_bind("0.0.0.0")
    assert warning is not None
    assert "fewer than 16 characters" in warning
    assert "dev" not in warning
    assert Credentials("x" * 16).check_bind("0.0.0.0") is None
    assert Credentials(api_keys=[key("a", "read", "s")]).check_bind("0.0.0.0") is None


def test_a_new_key_is_random_and_lets_in() -> None:
    secret, line = new_key("ci", [Grant("read", "emails"), Grant("work")])
    assert secret.startswith("qk_")
    assert len(secret) >= 3 + 43
    assert secret not in line
    owner = Credentials(api_keys=parse_api_keys([line])).identify(secret)
    assert owner == Principal("ci", (Grant("read", "emails"), Grant("work")))
    assert new_key("ci", [Grant("work")])[0] != secret


@pytest.mark.parametrize(
    ("name", "grants", "reason"),
    [
        ("a b", [Grant("read")], "needs a name of 1 to 64 letters"),
        ("", [Grant("read")], "needs a name"),
        ("x" * 65, [Grant("read")], "needs a name"),
        ("admin", [Grant("read")], "needs a name other than admin"),
        ("ci", [], "needs at least one scope"),
    ],
)
def test_a_key_that_cannot_be_named_so_is_not_made(name: str, grants: list[Grant], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        new_key(name, grants)


SECRET = "qk_0123456789-secret"
HASH = hashlib.sha256(b"s").hexdigest()


@pytest.mark.parametrize(
    ("faulty", "reason"),
    [
        (SECRET, "entry 2 has 1 parts separated by colons instead of 3"),
        (f"b:submit:{HASH}:x", r"entry 2 \(b\) has 4 parts"),
        (f":submit:{HASH}", "entry 2 needs a name"),
        (f"b c:submit:{HASH}", "entry 2 needs a name"),
        (f"admin:submit:{HASH}", r"entry 2 \(admin\) needs a name other than"),
        (f"a:submit:{HASH}", r"entry 2 \(a\) has the name of an earlier entry"),
        (entry("b", "read", "first"), r"entry 2 \(b\) has the hash of the entry 'a'"),
        (f"b::{HASH}", r"entry 2 \(b\) has the unknown scope \("),
        (f"b:submit+:{HASH}", r"entry 2 \(b\) has the unknown scope \("),
        (f"b:write:{HASH}", r"entry 2 \(b\) has the unknown scope 'write'"),
        (f"b:{HASH}:submit", r"entry 2 \(b\) has the unknown scope \("),
        (f"b:read@:{HASH}", r"entry 2 \(b\) has an invalid queue name after 'read@'"),
        (f"b:read@a@b:{HASH}", "has an invalid queue name"),
        (f"b:read:{HASH.upper()}", "does not end in the SHA-256"),
        (f"b:read:{HASH[:-1]}", "does not end in the SHA-256"),
        (f"b:read:{SECRET}", "does not end in the SHA-256"),
    ],
)
def test_a_faulty_entry_is_named_and_not_shown(faulty: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_api_keys([entry("a", "submit", "first"), faulty])
    message = str(caught.value)
    assert SECRET not in message
    assert HASH[:-1] not in message.lower()


def test_the_number_of_keys_is_bounded() -> None:
    with pytest.raises(ValueError, match="more than 256 entries"):
        parse_api_keys([entry(f"k{number}", "read", str(number)) for number in range(257)])


def test_only_the_scopes_asked_for_can_be_granted() -> None:
    assert parse_grant("read@a.b", ("read",)) == Grant("read", "a.b")
    with pytest.raises(ValueError, match=r"unknown scope 'admin' \(allowed: read\)"):
        parse_grant("admin", ("read",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://ann:pw@db:6379/0", "redis://***@db:6379/0"),
        ("redis://:p@ss:w/rd@db", "redis://***@db"),
        ("cannot reach REDISS://:pw@db, retrying", "cannot reach REDISS://***@db, retrying"),
        ("unix:///run/s.sock?db=0&password=pw&x=1", "unix:///run/s.sock?db=0&password=***&x=1"),
        ("redis://a:b@c and redis://d:e@f", "redis://***@c and redis://***@f"),
        ("redis://db:6379/0", "redis://db:6379/0"),
        ("ann@example.org", "ann@example.org"),
    ],
)
def test_urls_lose_their_passwords(text: str, expected: str) -> None:
    assert redact_urls(text) == expected
