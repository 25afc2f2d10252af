"""The errors of the client and of handlers: they survive pickling, and none shows a key."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from queuey import Dead, Retry
from queuey.client import Client, SyncClient
from queuey.client.errors import BadAnswer, ClientError, Refused, Unreachable
from queuey.client.sync import _Closed
from queuey.protocol.models import Problem


def tree(kind: type[ClientError] = ClientError) -> Iterator[type[ClientError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def one(kind: type[ClientError]) -> ClientError:
    if issubclass(kind, Refused):
        problem = Problem(type="urn:queuey:problem:full", title="Full", status=429, detail="no room")
        return kind(problem, retry_after=2.0)
    if issubclass(kind, Unreachable):
        return kind("gone", maybe_done=True)
    return kind("odd", 200) if issubclass(kind, BadAnswer) else kind("odd")


@pytest.mark.parametrize("error", [one(kind) for kind in tree()], ids=lambda error: type(error).__name__)
def test_every_error_of_the_client_survives_pickling(error: ClientError) -> None:
    error.add_note("while sending mail")
    restored = pickle.loads(pickle.dumps(error))
    assert type(restored) is type(error)
    assert (restored.args, restored.__dict__) == (error.args, error.__dict__)
    assert str(restored) == str(error)


@pytest.mark.parametrize("error", [Retry("later", after=5), Dead("never"), _Closed()], ids=repr)
def test_the_other_exceptions_survive_pickling(error: Exception) -> None:
    restored = pickle.loads(pickle.dumps(error))
    assert (type(restored), str(restored)) == (type(error), str(error))
    assert restored.__dict__ == error.__dict__


@pytest.mark.parametrize("key", ["canary\n", " canary", "can\u00e4ry", "", "canary\0", "c" * 201])
@pytest.mark.parametrize("client", [Client, SyncClient])
def test_a_key_that_no_header_can_carry_is_refused_at_once_and_not_shown(
    client: type[Client | SyncClient], key: str
) -> None:
    with pytest.raises(ValueError, match=r"api_key must be .* use \.strip\(\)") as refused:
        client("http://127.0.0.1:1", api_key=key)
    assert "can" not in str(refused.value)
    assert "ccc" not in str(refused.value)
