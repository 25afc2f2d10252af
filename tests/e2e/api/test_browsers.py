"""What a web page can do to a server that its reader's browser reaches: with keys nothing, without keys no writes.

A page may send what a form may send, and `fetch` in its mode `no-cors` may: any GET, and a POST with a few headers. For
more the browser asks the server first (a preflight), and it shows the page no reply unless the server says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from queuey.api.http.endpoints import Endpoint
from tests.e2e.api.test_access import BODIES, ROUTES, every_guarded_route, every_route
from tests.e2e.conftest import QUICK, Serve
from tests.support.routes import path_for
from tests.support.serving import Serving

EVIL: Final = "http://evil.example"
KEY: Final = "key-of-the-tests-of-browsers"


@pytest.fixture(scope="module")
def keyed() -> Iterator[Serving]:
    """A server on loopback with a key."""
    with tempfile.TemporaryDirectory(prefix="queuey-") as folder:
        server = Serving(Path(folder, "data"), *QUICK, variables={"QUEUEY_API_KEY": KEY}, key=KEY)
        yield server
        server.close()


def visit(server: Serving, route: Endpoint, **headers: str) -> httpx.Response:
    """What a browser sends on behalf of a page: without any key."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    path = path_for(route, "0" * 28)
    return httpx.request(route.method, server.url + path, json=BODIES.get(route.path), headers=headers)


def code(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, str(reply.json()["type"]).rpartition(":")[2]


def assert_unreadable(reply: httpx.Response) -> None:
    """No page of another site is shown this reply, and no browser is made to remember anything for the next."""
    assert not [name for name in reply.headers if name.startswith("access-control") or name == "set-cookie"]


@every_guarded_route
def test_with_keys_a_page_gets_nothing(keyed: Serving, route: Endpoint) -> None:
    own = keyed.url.removeprefix("http://")
    for host, origin in [(own, EVIL), ("evil.example", EVIL), (own, "null"), (own, keyed.url)]:
        reply = visit(keyed, route, host=host, origin=origin, cookie=f"x-api-key={KEY}")
        assert code(reply) == (401, "unauthorized")
        assert_unreadable(reply)
        assert "basic" not in reply.headers.get("www-authenticate", "").lower()


@every_route
def test_no_preflight_allows_anything(keyed: Serving, server: Serving, route: Endpoint) -> None:
    asked = {"Origin": EVIL, "Access-Control-Request-Method": route.method}
    asked["Access-Control-Request-Headers"] = "content-type, x-api-key"
    asked["Access-Control-Request-Private-Network"] = "true"
    for target in (keyed, server):
        assert_unreadable(httpx.options(target.url + route.path.replace("{id}", "0" * 28), headers=asked))


def test_a_page_cannot_submit_what_anybody_may(serve: Serve) -> None:
    """`fetch` sends a Blob without a type without a Content-Type, which needs no preflight."""
    server = serve("--anonymous", "submit@open", variables={"QUEUEY_API_KEY": KEY})
    url = server.url + "/v1/jobs"
    body = b'{"type":"echo","queue":"open"}'
    assert code(httpx.post(url, content=body, headers={"origin": EVIL})) == (403, "foreign-origin")
    assert httpx.post(url, content=body).status_code == 200
    assert httpx.post(url, content=body, headers={"origin": server.url}).status_code == 200
    assert httpx.post(url, content=body, headers={"origin": EVIL, "x-api-key": KEY}).status_code == 200


@every_route
def test_without_keys_no_other_host_name_is_answered(server: Serving, route: Endpoint) -> None:
    """A page whose name its owner has pointed to 127.0.0.1 meanwhile: the browser takes us for that page's own site."""
    for host in ("evil.example", "evil.example:8000", "0.0.0.0:8000", "localhost.evil.example", "127.0.0.1.nip.io"):
        reply = visit(server, route, host=host, origin=f"http://{host}", x_api_key="dev")
        assert code(reply) == (421, "wrong-host")
        assert_unreadable(reply)


@every_route
def test_without_keys_no_page_of_another_site_can_change_anything(server: Serving, route: Endpoint) -> None:
    for origin in (EVIL, "null", server.url.replace("127.0.0.1", "localhost"), "http://127.0.0.1"):
        reply = visit(server, route, origin=origin, x_api_key="dev")
        assert_unreadable(reply)
        if route.method != "GET":
            assert code(reply) == (403, "foreign-origin")
        else:
            assert reply.status_code in (200, 404)


def test_the_machines_own_names_are_answered(server: Serving) -> None:
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "127.1.2.3"):
        reply = httpx.get(server.url + "/v1/queues/metrics", headers={"host": host})
        assert reply.status_code == 200


def test_no_change_is_a_get() -> None:
    """Which is what the checks of the Origin rest on: browsers name it with everything else."""
    assert {route.method for route in ROUTES} <= {"GET", "POST", "PUT", "DELETE"}
    changing = [route for route in ROUTES if route.method == "GET" and route.needs in ("submit", "work", "admin")]
    assert [route.path for route in changing] == ["/v1/audit"]  # which only reads
