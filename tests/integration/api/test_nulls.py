"""What null, absent and empty mean at every place of every JSON body. The cases are made from the API's description."""

from __future__ import annotations

from typing import Any, Final

import pytest

from queuey.client.client import Client
from tests.integration.api.described import (
    ABSENT,
    ANY_JSON,
    JSON_OF,
    ONE_OF,
    Place,
    accepts,
    as_sent,
    bodies,
    good,
    job_with,
    named,
    places,
    prepare,
    send,
)
from tests.support.dead import die
from tests.support.http import ApiRig, problem
from tests.support.store import Rig

DEV: Final = {"x-api-key": "dev"}
DESTRUCTIVE: Final = (
    *("/v1/jobs/cancel", "/v1/jobs/retry", "/v1/jobs/delete"),
    *("/v1/dlq/delete", "/v1/dlq/replay", "/v1/queues/{name}/purge"),
)
PLACES: Final = [*places()]
TOP: Final = [place for place in PLACES if place.pointer.count("/") == 1]
FIELDS: Final = [place for place in PLACES if not place.pointer.endswith(("/0", "/mail"))]
STRICTER: Final = (
    *("/id", "/dedupe_key", "/run_at", "/lines/0/at", "/at", "/exclude/0"),
    *("/finished_after", "/finished_before"),
    *("/job/id", "/job/dedupe_key", "/job/run_at", "/from", "/to"),
)
"""Fields that may not be empty, which the description says in words only."""

every_place = pytest.mark.parametrize("place", PLACES, ids=str)


async def answer_to(api: ApiRig, place: Place, value: object, *, many: bool = False) -> Any:
    """Return the answer to a good body with this value at a place."""
    await prepare(api, place.path)
    response = await send(api, place.path, json=as_sent(place.path, job_with(place, value), many=many))
    assert response.status_code < 500, response.text
    return response.json()


def faults_at(place: Place, answer: Any) -> list[str]:
    """The faults at the place; a map has them for the values in it."""
    return [found for found in named(answer) if found == (place.map or place.pointer)]


def test_the_description_has_places_of_every_route_with_a_body() -> None:
    assert {place.path for place in PLACES} == bodies().keys() - {ANY_JSON}
    assert bodies().keys() >= set(DESTRUCTIVE)
    inside = [place.pointer for place in PLACES if place not in TOP]
    assert {f"/{pointer.split('/')[1]}" for pointer in inside} == JSON_OF.keys()
    assert {
        "/backoff/cap",
        "/room/0/types/0",
        "/error/detail",
        "/progress/total",
        "/type_queues/mail/0",
        "/metadata/mail",
    } <= {*inside}


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@every_place
async def test_null_is_accepted_where_the_description_allows_it(api: ApiRig, place: Place, many: bool) -> None:
    answer = await answer_to(api, place, None, many=many and place.path.startswith("/v1/leases/"))
    if accepts(place.schema, None):
        assert named(answer) == []
    else:
        assert faults_at(place, answer)
        assert named(answer) == faults_at(place, answer), "nothing else is blamed"
        assert ("is null" if place.map else "not null") in str(answer)


@pytest.mark.parametrize("value", ["", [], {}], ids=repr)
@every_place
async def test_an_empty_value_is_a_value(api: ApiRig, place: Place, value: object) -> None:
    answer = await answer_to(api, place, value)
    if accepts(place.schema, value) and not (value == "" and place.pointer in STRICTER):
        assert faults_at(place, answer) == []
    else:
        assert len(named(answer)) > 0
        assert all(found == place.pointer or found.startswith(f"{place.pointer}/") for found in named(answer)) or (
            place.map is not None and named(answer) == [place.map]
        )


@pytest.mark.parametrize("place", FIELDS, ids=str)
async def test_a_missing_field_has_its_default_unless_it_is_required(api: ApiRig, place: Place) -> None:
    rest = job_with(place, ABSENT)
    if not rest and place.path in ONE_OF:
        assert named(await answer_to(api, place, ABSENT)) == [f"/{name}" for name in ONE_OF[place.path]]
        rest = ONE_OF[place.path]
    await prepare(api, place.path)
    answer = (await send(api, place.path, json=as_sent(place.path, rest))).json()
    assert named(answer) == ([place.pointer] if place.is_required else [])
    if place.is_required:
        assert "is missing. It must be" in str(answer)


@pytest.mark.parametrize("path", [path for path in bodies() if path.startswith("/v1/leases/")])
async def test_null_in_place_of_jobs_or_of_one_is_refused(api: ApiRig, path: str) -> None:
    response = await api.http.post(path, json={"jobs": None}, headers=DEV)
    assert named(problem(response, 422, "invalid")) == ["/jobs"]
    response = await api.http.post(path, json={"jobs": [good(path), None]}, headers=DEV)
    first, second = response.json()["results"]
    assert first.get("status") == "lost"
    assert named(second["error"]) == [""]


async def test_null_in_place_of_a_job_of_a_batch_is_refused(api: ApiRig) -> None:
    response = await api.http.post("/v1/jobs/batch", json=[{"type": "t"}, None])
    first, second = response.json()["results"]
    assert "job_id" in first
    assert named(second["error"]) == [""]
    assert "not null" in second["error"]["detail"]


@pytest.mark.parametrize("path", sorted(bodies().keys() - {ANY_JSON}))
async def test_null_in_place_of_a_body_is_refused(api: ApiRig, path: str) -> None:
    await prepare(api, path)
    response = await send(api, path, content=b"null")
    assert named(problem(response, 422, "invalid")) == [""]


@pytest.mark.parametrize(
    "place", [place for place in TOP if place.path in DESTRUCTIVE and place.pointer != "/rate"], ids=str
)
@pytest.mark.parametrize("value", [None, "", [], {}], ids=repr)
async def test_a_lost_value_never_matches_all(rig: Rig, api: ApiRig, place: Place, value: object) -> None:
    path, field = place.path, place.pointer[1:]
    dead = await die(rig, queue="mail")
    waiting = await api.submit(queue="mail")
    response = await api.http.post(path.replace("{name}", "mail"), json={field: value}, headers=DEV)
    (fault,) = problem(response, 422, "invalid")["errors"]
    assert fault["pointer"] == f"/{field}"
    if value is None:
        assert fault["detail"].endswith(", not null; leave it out instead")
    assert (await api.job(dead))["status"] == "dead_letter"
    assert (await api.job(waiting))["status"] == "queued"


async def test_a_rate_of_null_is_accepted_since_older_clients_send_it(rig: Rig, api: ApiRig) -> None:
    await die(rig, queue="mail")
    response = await api.http.post("/v1/dlq/replay", json={"queue": "mail", "rate": None}, headers=DEV)
    assert response.json()["done"] == 1


async def test_a_client_sends_no_null_for_an_option_that_is_not_given(rig: Rig, api: ApiRig) -> None:
    await die(rig, queue="mail")
    async with Client("http://127.0.0.1", api_key="dev", transport=api.http._transport) as client:
        assert (await client.dlq_replay()).done == 1
        assert (await client.dlq_delete()).done == 0
        assert (await client.purge("mail")).cancelled == 1
        await client.pause("mail")
