"""API keys and their scopes. api/http/auth.py applies them to requests.

A grant is a scope, over every queue or over one (`read@emails`):

    submit   enqueue and cancel jobs
    read     see jobs, queues and the dead-letter queue
    work     claim, extend, complete and fail jobs over HTTP
    admin    all of these, and operate the queues: replay, pause, resume

Keys come from two settings. `api_key` is one key with the scope admin over all queues. `api_keys` are further keys, as
`name:scope[@queue][+scope[@queue]...]:sha256hex`. The server knows only their hashes. A key made by `new_key` has 256
random bits, so a plain SHA-256 protects it. Slow, salted hashes are for secrets that can be guessed, and would add some
milliseconds to every request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from queuey.errors import SettingsError
from queuey.protocol.models import NAME_PATTERN, NAME_RULE, Via

SCOPES: Final = ("submit", "read", "work", "admin")
DEV_KEY: Final = "dev"
"""The admin key if no key is set. It works only on loopback."""

KEY_PATTERN: Final = r"[!-~]{1,200}"
KEY_RULE: Final = "1 to 200 printable ASCII characters without spaces"

MAX_KEYS: Final = 256
_ADMIN_NAME: Final = "admin"
_ANONYMOUS_NAME: Final = "anonymous"
_RESERVED_NAMES: Final = (_ADMIN_NAME, _ANONYMOUS_NAME)
_SHORT_KEY: Final = 16
_NAME: Final = re.compile(NAME_PATTERN)
_PERSON: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_SESSION_VERSION: Final = "v1"
_SESSION: Final = re.compile(
    rf"{_SESSION_VERSION}\.(?P<name>[\w.-]{{1,64}})\.(?P<expires>[0-9]{{1,12}})\.(?P<mac>[\w-]{{43}})", re.ASCII
)
_SHA256_HEX: Final = re.compile("[0-9a-f]{64}")
_USERINFO: Final = re.compile(r"([a-z][a-z0-9+.-]{0,20}://)[^\s'\"<>]{0,2000}@", re.IGNORECASE)
_URL_PASSWORD: Final = re.compile(r"([?&](?:password|username)=)[^&\s'\"<>]{1,2000}", re.IGNORECASE)


class Grant(msgspec.Struct, frozen=True):
    """A scope over one queue, or over all queues if `queue` is None."""

    scope: str
    queue: str | None = None

    def __str__(self) -> str:
        return self.scope if self.queue is None else f"{self.scope}@{self.queue}"

    def covers(self, scope: str, queue: str | None) -> bool:
        """Return whether the grant includes this scope over this queue."""
        return self.scope in (scope, "admin") and self.queue in (None, queue)


class Principal(msgspec.Struct, frozen=True):
    """The caller: the name of a key or of a person, or `anonymous`. The name is safe to log."""

    name: str
    grants: tuple[Grant, ...]
    via: Via = "key"

    def allows(self, scope: str, queue: str | None = None) -> bool:
        """Return whether a grant covers the scope over this queue, or over all queues if `queue` is None."""
        for grant in self.grants:  # noqa: SIM110 - any() takes three times as long, on every request
            if grant.covers(scope, queue):
                return True
        return False

    def reading(self) -> Principal:
        """Return the caller with what it may read, and nothing else."""
        grants = [Grant("read", grant.queue) for grant in self.grants if grant.scope in ("read", "admin")]
        return Principal(self.name, tuple(dict.fromkeys(grants)), self.via)


class ApiKey(msgspec.Struct, frozen=True):
    """A key as the server knows it: the hash of its secret. `repr` shows no hash."""

    name: str
    grants: tuple[Grant, ...]
    digest: bytes

    def __repr__(self) -> str:
        return f"ApiKey({self.name}:{'+'.join(map(str, self.grants))})"


class Credentials:
    """The keys that a server accepts, and the scopes that need no key.

    Without `api_key` and `api_keys` the server is open: `anonymous` has every scope but admin (or the given ones), and
    the admin key is `dev`. `check_bind` keeps such a server on loopback.
    """

    def __init__(
        self, api_key: str | None = None, api_keys: Sequence[ApiKey] = (), anonymous: Sequence[Grant] = ()
    ) -> None:
        self.open = api_key is None and not api_keys
        if self.open:
            api_key = DEV_KEY
            anonymous = anonymous or [Grant(scope) for scope in SCOPES if scope != "admin"]
        self.anonymous = Principal(_ANONYMOUS_NAME, tuple(anonymous), "none")
        self._short = api_key is not None and len(api_key) < _SHORT_KEY
        self._keys = [(key.digest, Principal(key.name, key.grants)) for key in api_keys]
        if api_key is not None:
            self._keys.append((_digest(api_key), Principal(_ADMIN_NAME, (Grant("admin"),))))

    def identify(self, presented: str | None) -> Principal | None:
        """Return the owner of the presented key, or None for a missing or unknown key.

        The time taken does not reveal which key matched, or how many of its characters.
        """
        if presented is None:
            return None
        digest = _digest(presented)
        owner = None
        for known, principal in self._keys:
            if hmac.compare_digest(known, digest):
                owner = principal
        return owner

    def new_session(self, presented: str, secret: bytes, expires_at: int) -> tuple[Principal, str] | None:
        """Return the owner of the presented key and the value of a cookie, or None for an unknown key.

        The cookie has no part of the key, so nobody can guess the key with it. It is signed with the digest of the key:
        the sessions of a key that is removed or replaced end with it. `expires_at` is in seconds since 1970.
        """
        owner = self.identify(presented)
        if owner is None:
            return None
        mac = _session_mac(owner.name, expires_at, _digest(presented), secret)
        return owner, f"{_SESSION_VERSION}.{owner.name}.{expires_at}.{mac}"

    def of_session(self, cookie: str, secret: bytes, now: float) -> Principal | None:
        """Return the owner of the key that began a session, or None for a cookie that is not valid any more."""
        match = _SESSION.fullmatch(cookie)
        if match is None or int(match["expires"]) <= now:
            return None
        for digest, owner in self._keys:
            if owner.name == match["name"]:
                mac = _session_mac(owner.name, int(match["expires"]), digest, secret)
                is_ours = hmac.compare_digest(mac, match["mac"])
                return Principal(owner.name, owner.grants, "session") if is_ours else None
        return None

    def check_bind(self, host: str) -> str | None:
        """Check that these keys are enough to listen on `host`. Return a warning to log, or None.

        Raises SettingsError if other machines could reach a server without keys.
        """
        if is_loopback(host):
            return None
        if self.open:
            raise SettingsError(
                f"Cannot listen on {host} without an API key, because other machines could reach it.\n"
                "Create a key and set it in QUEUEY_API_KEYS:\n"
                "    queuey key new ops --scope admin\n"
                "or set QUEUEY_API_KEY to a long random secret, or listen only on this machine with "
                "--host 127.0.0.1."
            )
        if self._short:
            return f"QUEUEY_API_KEY has fewer than {_SHORT_KEY} characters and can be guessed. Use a longer key"
        return None


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address. Names other than localhost count as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def redact_urls(text: str) -> str:
    """Return the text without the user and the password of each URL in it."""
    if "://" not in text:
        return text
    return _URL_PASSWORD.sub(r"\1***", _USERINFO.sub(r"\1***@", text))


def new_key(name: str, grants: Sequence[Grant]) -> tuple[str, str]:
    """Return a new secret and its entry for `api_keys`. Raises ValueError if the name is not valid."""
    if not grants:
        raise ValueError("a key needs at least one scope")
    _check_name(name)
    secret = "qk_" + secrets.token_urlsafe(32)
    return secret, f"{name}:{'+'.join(map(str, grants))}:{_digest(secret).hex()}"


def parse_grant(text: str, scopes: Sequence[str] = SCOPES) -> Grant:
    """Parse `scope` or `scope@queue`. Raises ValueError, whose message never shows a secret."""
    scope, at, queue = text.partition("@")
    if scope not in scopes:
        shown = f" {scope!r}" if re.fullmatch("[a-z]{1,12}", scope) else ""
        raise ValueError(f"has the unknown scope{shown} (allowed: {', '.join(scopes)})")
    if at and not _NAME.match(queue):
        raise ValueError(f"has an invalid queue name after '{scope}@'")
    return Grant(scope, queue if at else None)


def parse_api_keys(entries: Sequence[str]) -> tuple[ApiKey, ...]:
    """Parse entries `name:scope[@queue][+scope[@queue]...]:sha256hex`.

    Raises ValueError, whose message has the number and name of the faulty entry, and never a hash.
    """
    if len(entries) > MAX_KEYS:
        raise ValueError(f"has more than {MAX_KEYS} entries")
    keys: list[ApiKey] = []
    for number, entry in enumerate(entries, 1):
        try:
            key = _parse_api_key(entry)
            for other in keys:
                if other.name == key.name:
                    raise ValueError("has the name of an earlier entry")
                if other.digest == key.digest:
                    raise ValueError(f"has the hash of the entry {other.name!r}")
        except ValueError as error:
            raise ValueError(f"entry {number}{_shown_name(entry)} {error}") from None
        keys.append(key)
    return tuple(keys)


def parse_people(entries: Sequence[str]) -> tuple[Principal, ...]:
    """Parse entries `name:scope[@queue][+scope[@queue]...]` of people whom a proxy names. Raises ValueError."""
    people: dict[str, Principal] = {}
    for entry in entries:
        name, colon, scopes = entry.rpartition(":")
        if not colon or not _PERSON.fullmatch(name):
            raise ValueError("has an entry that is not name:scope")
        if name in people:
            raise ValueError(f"has the name {name!r} twice")
        if name in _RESERVED_NAMES:
            raise ValueError(f"has the name {name!r}, which is reserved")
        grants = tuple(dict.fromkeys(parse_grant(text) for text in scopes.split("+")))
        people[name] = Principal(name, grants, "proxy")
    return tuple(people.values())


def _session_mac(name: str, expires_at: int, digest: bytes, secret: bytes) -> str:
    text = f"queuey {_SESSION_VERSION} {name} {expires_at} ".encode("ascii") + digest
    return base64.urlsafe_b64encode(hmac.digest(secret, text, "sha256")).rstrip(b"=").decode("ascii")


def _parse_api_key(entry: str) -> ApiKey:
    parts = entry.split(":")
    if len(parts) != 3:
        raise ValueError(f"has {len(parts)} parts separated by colons instead of 3 (name:scopes:sha256)")
    name, scopes, sha256_hex = parts
    _check_name(name)
    grants = tuple(dict.fromkeys(parse_grant(text) for text in scopes.split("+")))
    if not _SHA256_HEX.fullmatch(sha256_hex):
        raise ValueError("does not end in the SHA-256 of the key, as 64 lower-case hexadecimal digits")
    return ApiKey(name, grants, bytes.fromhex(sha256_hex))


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise ValueError(f"needs a name of {NAME_RULE}")
    if name in _RESERVED_NAMES:
        raise ValueError(f"needs a name other than {' and '.join(_RESERVED_NAMES)}, which are reserved")


def _shown_name(entry: str) -> str:
    """Return the name of an entry. A secret that was put here by mistake is not shown."""
    name, colon, _ = entry.partition(":")
    return f" ({name})" if colon and _NAME.match(name) else ""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
