"""The URL of a server, as its clients are given it."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

LOCAL_URL: Final = "http://127.0.0.1:8000"
URL_VARIABLE: Final = "QUEUEY_URL"
KEY_VARIABLE: Final = "QUEUEY_API_KEY"
URL_RULE: Final = (
    "http:// or https:// with a host, and a port from 1 to 65535 if any, for example http://127.0.0.1:8000"
)
_FORM: Final = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?", re.IGNORECASE)


def is_server_url(url: str) -> bool:
    """Return whether a host stands in the URL, a port that exists or none, and no query and no fragment."""
    if _FORM.fullmatch(url) is None:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port above 65535 or not of digits, or '[' without ']'
        return False
