"""The check of a store's URL. It refuses each typing error by name, so that none leads to another store.

No message quotes a part of the URL: if a password contains '/', '?' or '#', any part may be a piece of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

SCHEMES: Final = ("redis", "rediss", "unix")
ALLOWED: Final = "redis://[[user]:password@]host[:port][/db], rediss://... with TLS, or unix:///path/to/socket[?db=0]"
_ESCAPES: Final = "in a password write / as %2F, ? as %3F, # as %23 and @ as %40"

_OPTIONS: Final = {"db": ("[0-9]{1,9}", "a number"), "username": (".+", "a name"), "password": (".+", "not empty")}
_TLS_OPTIONS: Final = {
    "ssl_ca_certs": (".+", "a file"),
    "ssl_certfile": (".+", "a file"),
    "ssl_keyfile": (".+", "a file"),
    "ssl_cert_reqs": ("required|none", "required or none"),
    "ssl_check_hostname": ("true|false", "true or false"),
}
"""The options that are passed on to redis-py: a pattern and its meaning. Queuey sets timeouts and pools itself."""
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def check(value: str) -> str:
    """Return the URL unchanged. Raises ValueError that says what is wrong with it."""
    scheme, separator, _ = value.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"does not start with {', '.join(s + '://' for s in SCHEMES)}")
    try:
        url = urlsplit(value)
        if url.port == 0:
            raise ValueError
    except ValueError:
        raise ValueError(f"has an invalid port, or brackets that do not match ({_ESCAPES})") from None
    if scheme == "unix" and not url.path.strip("/"):
        raise ValueError("has no path of a socket")
    if scheme != "unix" and not url.hostname:
        raise ValueError(f"has no host ({_ESCAPES})")
    if scheme != "unix" and not re.fullmatch("/?[0-9]{0,9}", url.path):
        raise ValueError(f"has a path that is not the number of a database ({_ESCAPES})")
    if "#" in value:
        raise ValueError(f"contains a '#' ({_ESCAPES})")
    _check_options(url.query, _OPTIONS | _TLS_OPTIONS if scheme == "rediss" else _OPTIONS)
    return value


def _check_options(query: str, known: dict[str, tuple[str, str]]) -> None:
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"has an unknown option after its '?'; allowed: {', '.join(known)} ({_ESCAPES})")
        pattern, meaning = known[name]
        if not re.fullmatch(pattern, text):
            raise ValueError(f"has a {name} that is not {meaning}")
        if name in _FILES and not Path(text).is_file():
            raise ValueError(f"has a {name} that is not a file on this machine")
