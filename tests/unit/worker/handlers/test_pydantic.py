"""Payloads and results that pydantic checks and writes, and the other kinds of classes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, TypedDict

import annotated_types
import attrs
import msgspec
import pydantic
import pytest

from queuey import App, Client, Context, Testing
from queuey.errors import StartupError
from queuey.protocol.json import strict
from queuey.protocol.json.payload_faults import MAX_FAULTS, PayloadMismatch
from queuey.worker.testing import Ran


class Item(pydantic.BaseModel):
    name: str = pydantic.Field(alias="itemName")
    count: pydantic.PositiveInt = 1


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    items: list[Item]
    due: datetime | None = None
    by_name: dict[str, int | Item] = {}


@pydantic.dataclasses.dataclass
class Person:
    age: Annotated[int, pydantic.Field(gt=18)]

    @pydantic.field_serializer("age")
    def written(self, age: int) -> str:
        return f"{age} years"


class Struct(msgspec.Struct):
    age: int


@dataclasses.dataclass
class Plain:
    age: int


@dataclasses.dataclass
class HoldsModel:
    item: Item


class Typed(TypedDict):
    age: int


class Pair(NamedTuple):
    age: int
    item: Item


def _positive(instance: object, attribute: object, value: int) -> None:
    if value < 1:
        raise ValueError("must be positive")


@attrs.define
class Attrs:
    age: int = attrs.field(validator=_positive)


class Unwritable(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    value: Any


class Dated(pydantic.BaseModel):
    due: datetime


class Root(pydantic.RootModel[list[int]]):
    pass


def handled(annotation: Any, payload: object) -> object:
    """The payload, decoded for a handler whose parameter has that annotation."""

    def handler(job: Any) -> None: ...

    handler.__annotations__["job"] = annotation
    app = App()
    app.job("t")(handler)
    return app.handlers["t"].decode(msgspec.json.encode(payload))


async def ran(function: Any, payload: object) -> Ran:
    app = App()
    app.job("t")(function)
    async with Testing(app) as testing:
        return await testing.run("t", payload)


ORDER = {"items": [{"itemName": "a"}], "due": "2030-01-31T12:00:00Z"}


class TestDecoded:
    @pytest.mark.parametrize(
        ("annotation", "payload", "value"),
        [
            (Item, {"itemName": "a", "count": "2"}, Item(itemName="a", count=2)),
            (list[Item] | None, [{"itemName": "a"}], [Item(itemName="a")]),
            (Person, {"age": 19}, Person(19)),
            (HoldsModel, {"item": {"itemName": "a"}}, HoldsModel(Item(itemName="a"))),
            (Pair, [1, {"itemName": "a"}], Pair(1, Item(itemName="a"))),
            (Root, [1], Root([1])),
            (Plain, {"age": 1}, Plain(1)),
            (Attrs, {"age": 1}, Attrs(1)),
            (Typed, {"age": 1}, {"age": 1}),
            (Struct, {"age": 1}, Struct(1)),
        ],
    )
    def test_by_the_library_of_its_type(self, annotation: Any, payload: object, value: object) -> None:
        assert handled(annotation, payload) == value

    @pytest.mark.parametrize(
        ("annotation", "payload", "faults"),
        [
            (Person, {"age": 5}, [("/age", "Input should be greater than 18")]),
            (Order, {}, [("/items", "Field required")]),
            (
                Order,
                {"items": [{"itemName": "a"}, {"itemName": "b", "count": 0}], "more/or~less": 1},
                [
                    ("/items/1/count", "Input should be greater than 0"),
                    ("/more~1or~0less", "Extra inputs are not permitted"),
                ],
            ),
            (
                Order,
                {"items": [], "by_name": {"x": {"count": 1}}},
                [("/by_name/x", "Input should be a valid integer"), ("/by_name/x/itemName", "Field required")],
            ),
            (Item, 5, [("", "Input should be an object")]),
            (pydantic.PositiveInt, 0, [("", "Input should be greater than 0")]),
            (Annotated[int, annotated_types.Gt(3)], 3, [("", "Input should be greater than 3")]),
        ],
    )
    def test_faults_have_json_pointers(self, annotation: Any, payload: object, faults: list[tuple[str, str]]) -> None:
        with pytest.raises(PayloadMismatch) as caught:
            handled(annotation, payload)
        assert [(fault.pointer, fault.reason) for fault in caught.value.faults] == faults

    def test_the_faults_are_bounded(self) -> None:
        with pytest.raises(PayloadMismatch) as caught:
            handled(list[Item], [{}] * (MAX_FAULTS + 1))
        assert len(caught.value.faults) == MAX_FAULTS
        assert str(caught.value).startswith("Field required - at `/0/itemName`; Field required - at `/1/itemName`")

    def test_attrs_validators_run(self) -> None:
        with pytest.raises(msgspec.ValidationError, match="must be positive"):
            handled(Attrs, {"age": 0})

    @pytest.mark.parametrize("holder", [Struct, Annotated[int, msgspec.Meta(ge=1)]])
    def test_two_libraries_in_one_payload_are_refused(self, holder: Any) -> None:
        with pytest.raises(
            StartupError, match=r"test_pydantic.py:\d+\): the payload has Item of pydantic and .* use one"
        ):
            handled(dict[str, holder | Item], {})

    def test_a_constraint_that_msgspec_ignores_does_not_make_a_struct_one_of_pydantic(self) -> None:
        bounded = Annotated[Struct, annotated_types.Gt(3)]
        assert handled(bounded, {"age": 1}) == Struct(1)

    def test_a_type_that_pydantic_cannot_check(self) -> None:
        class Opaque:
            pass

        with pytest.raises(
            StartupError, match=r"cannot be decoded from JSON \(Unable to generate pydantic-core schema"
        ):
            handled(dict[str, Opaque | Item], {})


async def ship(order: Order, note: Annotated[str, pydantic.Field(max_length=3)] = "none", *, ctx: Context) -> Any:
    return [order.items[0].name, note, ctx.type]


class TestRun:
    async def test_several_parameters(self) -> None:
        assert (await ran(ship, {"order": ORDER})).value() == ["a", "none", "t"]

    @pytest.mark.parametrize(
        ("payload", "message"),
        [
            ({"order": ORDER, "note": "long"}, "String should have at most 3 characters - at `/note`"),
            ({"order": {"items": 3}}, "Input should be a valid array - at `/order/items`"),
            ({"order": ORDER, "more": 1}, "at `/more`"),
            ({}, "Field required - at `/order`"),
        ],
    )
    async def test_faults_are_the_payloads(self, payload: object, message: str) -> None:
        outcome = await ran(ship, payload)
        assert (outcome.status, outcome.kind) == ("dead_letter", "payload")
        assert message in str(outcome.message)

    async def test_a_validator_that_breaks_is_an_error_of_the_handler(self) -> None:
        def broken(value: int) -> int:
            raise KeyError("no table")

        async def handler(job: Annotated[int, pydantic.AfterValidator(broken)]) -> None: ...

        handler.__annotations__["job"] = Annotated[int, pydantic.AfterValidator(broken)]
        outcome = await ran(handler, 1)
        assert (outcome.status, outcome.kind) == ("retry", "error")


class TestWritten:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (Item(itemName="a"), b'{"itemName":"a","count":1}'),
            ([Item(itemName="a")], b'[{"itemName":"a","count":1}]'),
            ({"order": Order(items=[])}, b'{"order":{"items":[],"due":null,"by_name":{}}}'),
            (Person(19), b'{"age":"19 years"}'),
            (Root([1]), b"[1]"),
            (
                Order(items=[], due=datetime(2030, 1, 31, tzinfo=UTC)),
                b'{"items":[],"due":"2030-01-31T00:00:00Z","by_name":{}}',
            ),
            (Attrs(1), b'{"age":1}'),
            (Plain(1), b'{"age":1}'),
        ],
    )
    async def test_as_payloads_and_results(self, value: object, text: bytes) -> None:
        async def handler(job: Any) -> Any:
            return value

        assert bytes((await ran(handler, None)).result) == text
        assert strict.encode(value) == text

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (
                Unwritable(value=object()),
                "/result: pydantic cannot write Unwritable as JSON: Unable to serialize",
            ),
            ([Unwritable(value=object())], r"Unwritable: pydantic cannot write .* or a field_serializer"),
            (Unwritable(value={"a/b": float("nan")}), "/result/value/a~1b is nan, and JSON has no such number"),
            ([Unwritable(value=[float("inf")])], "Unwritable/value/0 is inf, and JSON has no such number"),
            (object(), "Encoding objects of type object is unsupported"),
        ],
    )
    async def test_what_is_no_json_says_why(self, value: object, message: str) -> None:
        async def handler(job: Any) -> Any:
            return value

        outcome = await ran(handler, None)
        assert (outcome.status, outcome.kind) == ("retry", "result_not_json")
        with pytest.raises(AssertionError, match=message):
            outcome.value()

    async def test_a_client_refuses_it_before_it_sends_anything(self) -> None:
        async with Client("http://127.0.0.1:1", retries=0) as client:
            with pytest.raises(TypeError, match="/payload: pydantic cannot write Unwritable as JSON"):
                await client.enqueue("t", Unwritable(value=object()))


def test_pydantic_is_imported_only_by_the_app() -> None:
    code = (
        "import sys, dataclasses, queuey, queuey.client, queuey.worker.testing\n"
        "app = queuey.App()\n"
        "@app.job('t')\n"
        "def handler(path: str, width: int) -> None: ...\n"
        "assert 'pydantic' not in sys.modules, 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
