"""JSON over HTTP, with Python's standard library."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any, Final
from urllib.request import Request, urlopen

TIMEOUT: Final = 30.0
"""The seconds without data after which a request fails. It is half of a long poll, which must end before."""
PAUSE: Final = 0.2


class Server:
    """A server. Its methods raise OSError, also for a status above 399."""

    def __init__(self, url: str, key: str = "") -> None:
        self._url = url
        self._headers = {"content-type": "application/json"} | ({"x-api-key": key} if key else {})

    def open(self, path: str, body: object = None) -> HTTPResponse:
        """Send a request, a POST if it has a body, and return the reply after its headers."""
        data = None if body is None else json.dumps(body).encode()
        reply: HTTPResponse = urlopen(Request(self._url + path, data, self._headers), timeout=TIMEOUT)
        return reply

    def ask(self, path: str, body: object = None) -> Any:
        with self.open(path, body) as reply:
            return json.load(reply)

    def events(self, path: str) -> Iterator[tuple[str, Any]]:
        """Yield Server-Sent Events as they arrive: name and data. A comment has the name ""."""
        with self.open(path) as reply:
            name = ""
            for line in reply:
                word, _, text = line.decode().rstrip("\n").partition(":")
                if word == "event":
                    name = text.strip()
                elif word == "data":
                    yield name, json.loads(text)
                elif not word and text:
                    yield "", text


def until(what: str, look: Callable[[], Any], timeout: float = 60.0) -> Any:
    """Call `look` until its result is true, and return it. Raises AssertionError after `timeout` seconds."""
    give_up_at = time.monotonic() + timeout
    while not (seen := look()):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        time.sleep(PAUSE)
    return seen
