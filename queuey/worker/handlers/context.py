"""The Context that a handler gets, and the exceptions Retry, Snooze and Dead that it may raise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic

import msgspec

from queuey.protocol.job_requests import check_seconds
from queuey.protocol.json import strict
from queuey.protocol.json.codecs import Codec, seal_json, unseal_json
from queuey.protocol.models import MAX_CHECKPOINT, MAX_NOTE, YEAR, ProgressReport
from queuey.worker.handlers.attempt import Work
from queuey.worker.handlers.job_lines import logger_of

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    State = TypeVar("State", default=Any)
else:
    from typing import TypeVar

    State = TypeVar("State")


class Retry(Exception):
    """A handler raises this to run again. It spends an attempt.

    `after` is the exact number of seconds until then; without it the job's backoff decides. The job keeps `reason`.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        check_seconds("after", after)
        if after is not None and not 0 <= after <= YEAR:
            raise ValueError(f"Retry(after={after!r}): it must be between 0 and {YEAR} seconds")
        self.reason = reason
        self.after = after


class Snooze(Exception):
    """A handler raises this to run again in `delay` seconds. It spends no attempt.

    A job that is snoozed more than 1,000 times in a run goes to the dead-letter queue. The log has `reason`.
    """

    def __init__(self, delay: float, reason: str = "") -> None:
        super().__init__(delay, reason)
        check_seconds("delay", delay)
        if not 0 <= delay <= YEAR:
            raise ValueError(f"Snooze({delay!r}): it must be between 0 and {YEAR} seconds")
        self.delay = delay
        self.reason = reason


class Dead(Exception):
    """A handler raises this to send the job to the dead-letter queue at once. The job keeps `reason`."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class _Done:
    """An awaitable that is done."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


_DONE: Final = _Done()


class Context(Generic[State]):
    """A handler's view of its job. `Context[Pool]` says that the type of its state is Pool."""

    __slots__ = ("_codec", "_log", "_work", "state")

    def __init__(self, work: Work, state: State) -> None:
        self._work = work
        self._log: Any = None
        self._codec: Codec | None = None
        self.state = state
        """The value that the App's lifespan yielded; in processes, that of `process_lifespan`. None without one."""

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self._work.id

    @property
    def type(self) -> str:
        """The job's type."""
        return self._work.type

    @property
    def queue(self) -> str:
        """The job's queue."""
        return self._work.queue

    @property
    def attempt(self) -> int:
        """The number of this attempt; the first is 1."""
        return self._work.attempt

    @property
    def max_attempts(self) -> int:
        """The maximum number of attempts."""
        return self._work.max_attempts

    @property
    def token(self) -> str:
        """The token of the lease: `<claims>.<random>`."""
        return self._work.token

    @property
    def claims(self) -> int:
        """The number of claims of this job. It never falls: use it as a fencing token for what the handler writes."""
        return int(self._work.token.partition(".")[0])

    @property
    def tags(self) -> Sequence[str]:
        """The job's tags."""
        return self._work.tags

    @property
    def metadata(self) -> Mapping[str, str]:
        """The job's metadata, such as the id of the request that enqueued it. Empty if it has none."""
        return self._work.metadata or {}

    @property
    def batch_key(self) -> str | None:
        """The key of the batch, if the job is a batch of items: its payload is the list of these. None otherwise."""
        return self._work.batch_key

    @property
    def items(self) -> int | None:
        """The number of items of the payload, if the job is a batch of items. None otherwise."""
        return None if self._work.batch_key is None else _count(self._work.payload)

    @property
    def cancelled(self) -> bool:
        """Whether the job has timed out or was cancelled. Long loops in threads should look at it."""
        return self._work.stopping is not None

    def progress(self, done: int | float, total: int | float | None = None, note: str | None = None) -> None:
        """Report how far the job has come: `done` of `total`, each from 0 to 10^15 in any unit.

        The note is cut to 200 characters. The first report is visible at once; later ones at most twice a second, and
        the last one counts. Raises ValueError.
        """
        numbers: tuple[tuple[str, Any], ...] = (("done", done), ("total", 0 if total is None else total))
        for name, value in numbers:
            if not isinstance(value, (int, float)) or not 0 <= value <= 1e15:
                raise ValueError(f"progress({name}={value!r}): it must be a number from 0 to 10^15")
        kept = note and note[:MAX_NOTE].encode(errors="replace").decode()  # half a character cannot be encoded
        report = ProgressReport(done, total, kept)
        if self._work.report is not None:
            self._work.report(self._work, report)

    def checkpoint(self, value: Any) -> Awaitable[None]:
        """Keep a value for the next attempts, in place of the last one. None removes it, and so does a success.

        The value is anything that can be a result, of at most 65,536 bytes of JSON. An async handler must await this.
        In other handlers it returns once the value is stored. Raises ValueError for a value that is too large, and
        CheckpointFailed if it was not stored, for example since another worker has the job.
        """
        text, work = self._to_stored(value), self._work
        if work.keep is None:
            work.checkpoint = text
            return _DONE
        kept = work.keep(work, text)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            kept.result()
            return _DONE
        return asyncio.wrap_future(kept)

    def _to_stored(self, value: Any) -> str:
        if value is None:
            return ""
        text = strict.encode_line(value, "/checkpoint")
        if self._codec is not None:
            try:
                text = bytes(seal_json(self._codec, text))
            except Exception as error:
                error.add_note(f"the codec {self._codec.name!r}, for a checkpoint")
                raise
        if len(text) > MAX_CHECKPOINT:
            raise ValueError(
                f"the checkpoint takes {len(text):,} bytes; the limit is {MAX_CHECKPOINT:,}. Keep large data elsewhere "
                "and a reference to it here"
            )
        return text.decode()

    @property
    def last_checkpoint(self) -> Any:
        """The value that this job has kept last, in this attempt or an earlier one, as JSON gives it; None without one.

        `msgspec.convert(ctx.last_checkpoint, T)` makes it a T.
        """
        text = self._work.checkpoint
        if not text:
            return None
        try:
            return msgspec.json.decode(text if self._codec is None else unseal_json(self._codec, text))
        except msgspec.DecodeError as error:
            error.add_note("the last checkpoint")
            raise

    @property
    def log(self) -> Any:
        """A structlog logger that adds the job's id, type and attempt. Its last lines are kept with the job.

        It also adds `request_id` and `tenant` of the job's metadata, if they are there.
        """
        if self._log is None:
            self._log = logger_of(self._work)
        return self._log


_decode_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _count(payload: str | bytes | msgspec.Raw) -> int | None:
    """Return the number of items of a payload; None if somebody has replaced it by another value."""
    try:
        return len(_decode_items(payload))
    except msgspec.ValidationError:
        return None
