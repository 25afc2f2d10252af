"""A client that is given no URL and no key takes those of QUEUEY_URL and QUEUEY_API_KEY."""

from __future__ import annotations

import httpx
import pytest

from queuey.client import Client, SyncClient

HERE = "http://127.0.0.1:8000"
THERE = "http://there.test:9000"


def key_sent(url: str | None, api_key: str | None = None) -> str | None:
    """Return the key in the header of a request."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"requeued": 0})

    with SyncClient(url, api_key, retry_for=0, transport=httpx.MockTransport(answer)) as client:
        client.replay()
    key: str | None = seen[0].headers.get("x-api-key")
    return key


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUEUEY_URL", raising=False)
    monkeypatch.delenv("QUEUEY_API_KEY", raising=False)


@pytest.mark.parametrize("kind", [Client, SyncClient])
@pytest.mark.parametrize(
    ("variable", "given", "url"), [(THERE, None, THERE), (THERE, HERE, HERE), (None, None, HERE), ("", None, HERE)]
)
def test_the_url(
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Client] | type[SyncClient],
    variable: str | None,
    given: str | None,
    url: str,
) -> None:
    if variable is not None:
        monkeypatch.setenv("QUEUEY_URL", variable)
    assert kind(given).url == url


def test_a_wrong_variable_is_refused_as_an_argument_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUEY_URL", "there:9000")
    with pytest.raises(ValueError, match="http:// or https://"):
        SyncClient()


def test_the_key_goes_to_the_server_of_the_variables_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUEY_API_KEY", "key-of-the-variable")
    assert key_sent(None) == key_sent(HERE) == "key-of-the-variable"
    assert key_sent(THERE) is None
    assert key_sent(None, "key-of-the-argument") == "key-of-the-argument"
    monkeypatch.setenv("QUEUEY_URL", THERE)
    assert key_sent(None) == key_sent(THERE) == "key-of-the-variable"
    assert key_sent(HERE) is None
