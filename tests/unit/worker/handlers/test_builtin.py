from collections.abc import AsyncIterator

import pytest

from queuey.worker.execution import Execution
from queuey.worker.handlers.app import load_app
from queuey.worker.handlers.attempt import Failed, Outcome, Succeeded, Work
from queuey.worker.handlers.builtin import app
from queuey.worker.settings import ExecutionSettings


@pytest.fixture
async def execution() -> AsyncIterator[Execution]:
    execution = Execution(
        app,
        None,
        ExecutionSettings(thread_slots=1, process_slots=1, default_timeout=10, grace=1, result_limit=256_000),
        on_event=lambda event, /, **_: pytest.fail(event),
    )
    await execution.start()
    yield execution
    assert await execution.stop(abandon=False) == 0


async def run(execution: Execution, type: str, payload: str) -> Outcome:
    return await execution.run(Work("id", type, "default", payload, "1.token", 1, 5))


@pytest.mark.parametrize(
    ("type", "payload", "result"),
    [
        ("text.reverse", '{"text":"hello"}', '"olleh"'),
        ("text.reverse", '{"text":""}', '""'),
        ("text.reverse", '{"text":"日本"}', '"本日"'),
        ("math.square", '{"n":12}', "144"),
        ("math.square", '{"n":-1.5}', "2.25"),
        ("math.square", '{"n":100000000000000000001}', "10000000000000000000200000000000000000001"),
    ],
)
async def test_results(execution: Execution, type: str, payload: str, result: str) -> None:
    assert await run(execution, type, payload) == Succeeded(result)


@pytest.mark.parametrize(
    ("type", "payload", "message"),
    [
        ("text.reverse", '{"text":1}', "Expected `str`, got `int` - at `$.text`"),
        ("math.square", '{"n":"12"}', "Expected `int | float`, got `str` - at `$.n`"),
        ("math.square", "{}", "Object missing required field `n`"),
        ("math.square", "null", "Expected `object`, got `null`"),
    ],
)
async def test_payload_faults(execution: Execution, type: str, payload: str, message: str) -> None:
    assert await run(execution, type, payload) == Failed("payload", message, dead=True)


@pytest.mark.parametrize("number", ["1e200", "9" * 4000])
async def test_a_square_that_json_or_python_cannot_write_is_a_failure(execution: Execution, number: str) -> None:
    outcome = await run(execution, "math.square", f'{{"n":{number}}}')
    assert isinstance(outcome, Failed)
    assert outcome.kind == "result_not_json"


def test_it_is_found_by_its_path() -> None:
    assert load_app("queuey.worker.handlers.builtin:app") is app
