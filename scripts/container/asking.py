"""JSON over HTTP, with Python's own library."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any, Final
from urllib.request import Request, urlopen

PATIENCE: Final = 30.0
"""Seconds without a byte after which a reply is given up. Half of the long poll, which so cannot pass by its end."""
PAUSE: Final = 0.2


class Server:
    """At `url`; `key` is sent as x-api-key, if there is one. Its methods raise OSError, also for a status above 399."""

    def __init__(self, url: str, key: str = "") -> None:
        self._url = url
        self._headers = {"content-type": "application/json"} | ({"x-api-key": key} if key else {})

    def open(self, path: str, body: object = None) -> HTTPResponse:
        """The reply, of which nothing but the head has been read: to a POST, where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        reply: HTTPResponse = urlopen(Request(self._url + path, data, self._headers), timeout=PATIENCE)
        return reply

    def ask(self, path: str, body: object = None) -> Any:
        with self.open(path, body) as reply:
            return json.load(reply)

    def events(self, path: str) -> Iterator[tuple[str, Any]]:
        """Server-Sent Events as they come: name and data. A comment has the name ""."""
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


def until(what: str, look: Callable[[], Any], patience: float = 60.0) -> Any:
    """Looks until what it sees is true, and returns that. Raises AssertionError after `patience` seconds."""
    give_up_at = time.monotonic() + patience
    while not (seen := look()):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {patience:.0f} s: {what}")
        time.sleep(PAUSE)
    return seen
