"""An export file: NDJSON, with a line for each thing that a store holds.

It begins with a `header` and the queues. The phases keys, jobs, lanes and schedules follow, with a `checkpoint` after
each page. A file with schedules has format 2, so that an older version refuses it and does not lose them.
The last line is an `end` with the counts of the lines before it. A file without an end is incomplete;
`queuey export --resume` continues at the last checkpoint. Times are integer milliseconds since 1970 by the store's
clock. A reader ignores fields that it does not know, and refuses a `format` above its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from queuey.errors import FileRefused, QueueyError
from queuey.protocol import ids
from queuey.protocol.models import NAME_PATTERN, PRIORITIES, Name, Priority
from queuey.protocol.records import parse_definition, parse_fields
from queuey.protocol.stored import job_log
from queuey.protocol.stored.schedules import RUNS_KEPT, is_record, is_run, to_schedule
from queuey.services.schedules.reading import is_name
from queuey.services.schedules.specs import read_spec
from queuey.services.schedules.ticks import Ticks
from queuey.store.replies import DumpedJob, HeldKey, Place

LINE_LIMIT: Final = 12_000_000
"""The bytes of the longest possible line: 4 MB of items and a result of 900 kB, with their quotes escaped."""
SCHEDULE_FORMAT: Final = 2
"""The format of an export with schedules. It is the newest format that this version reads."""
COUNTED: Final = ("queue", "key", "job", "lane", "schedule")

Phase = Literal["keys", "jobs", "lanes", "schedules"]
PHASES: Final[tuple[Phase, ...]] = ("keys", "jobs", "lanes", "schedules")
"""The phases. Schedules come last: before its last job is there, a schedule would take it for one that has ended."""
Time = Annotated[int, Meta(ge=0, le=2**53)]

_KEY = re.compile(r"([iu]:)?[A-Za-z0-9_-]{1,400}")
_HEAD = re.compile(r"r=\d{1,16}( [A-Za-z]=[\w.:-]+)*", re.ASCII)
_AGAIN = re.compile(r"(\S+) \d{1,16} \d{1,16}\n([A-Za-z]=[\w.:-]+( [A-Za-z]=[\w.:-]+)*)\n", re.ASCII)
_STATE_HEAD = re.compile(r"[A-Za-z]=[\w.:-]+( [A-Za-z]=[\w.:-]+)*", re.ASCII)
_NUMBERS: Final = frozenset("acefjmnrtxKLRS") | {"b"}
_NUMBER = re.compile(r"\d{1,16}")
_PLACES: Final[Mapping[Place, str]] = {"ready": "w", "scheduled": "w", "running": "r", "dead": "d", "finished": "sc"}
"""The letters that a job's status may have in each place."""


class Header(Struct, tag_field="kind", tag="header"):
    """The first line. `id`: the id of this export; an import saves it in the store that it fills.

    `store_id`: the id of the exported store, '' = unknown.
    """

    format: Annotated[int, Meta(ge=1)]
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{1,64}\Z")]
    shards: Annotated[int, Meta(ge=1, le=ids.BUCKETS)]
    prefix: str
    version: str
    started_ms: Time
    store_id: str = ""


class Queue(Struct, tag_field="kind", tag="queue"):
    """A queue. `paused`: the reason, '' = it is not paused; `paused_by`, '' = unknown; `paused_at_ms`, 0 = unknown."""

    shard: int
    name: Name
    paused: str
    paused_by: str = ""
    paused_at_ms: Time = 0


class Key(Struct, tag_field="kind", tag="key"):
    """A dedupe key as base64url, `u:` and a unique key, or `i:` and an idempotency key's digest; and its holder."""

    key: str
    job_id: str
    until_ms: Time


class JobLine(Struct, tag_field="kind", tag="job", omit_defaults=True):
    """A job. `definition`, `state`, `log` and `again` are the texts of its keys of these names, see docs/protocol.md.

    `at_ms`: when it is due (scheduled), its lease ends (running), it died (dead) or its retention ends (finished); 0:
    ready.
    """

    id: str
    place: Place
    at_ms: Time
    definition: str
    state: str
    log: str = ""
    again: str = ""


class Lane(Struct, tag_field="kind", tag="lane"):
    """Ids of a part of a lane, in its order. `first`: the position of the first id from the end; -1 is the last."""

    queue: Name
    priority: Priority
    first: Annotated[int, Meta(le=-1)]
    ids: list[str]


class ScheduleLine(Struct, tag_field="kind", tag="schedule"):
    """A schedule: the text of its key, and the lines of its history, the newest first. See docs/protocol.md."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,128}\Z")]
    record: str
    runs: Annotated[list[str], Meta(max_length=RUNS_KEPT)]


class Checkpoint(Struct, tag_field="kind", tag="checkpoint"):
    """The progress of the export: the cursor of a phase; 0 = the end of the phase.

    `run_id`: the id of the store's process, since a restart makes its cursors useless.
    """

    phase: Phase
    cursor: int
    run_id: str


class End(Struct, tag_field="kind", tag="end"):
    """The last line. `counts`: the lines of each kind before it."""

    counts: dict[str, int]
    ended_ms: Time


Line = Header | Queue | Key | JobLine | Lane | ScheduleLine | Checkpoint | End

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode
_format_of = msgspec.json.Decoder(dict[str, object]).decode


def encode_line(line: Line) -> bytes:
    """Return the text of a line, with its newline."""
    return _encode(line) + b"\n"


def kind_of(line: Line) -> str:
    """Return the kind of a line, for example `job`."""
    return str(line.__struct_config__.tag)


def to_job(line: JobLine) -> DumpedJob:
    """Return the job of a line, for the script `restore`."""
    return DumpedJob(line.id, line.place, line.at_ms, line.definition, line.state, line.log, line.again)


def from_job(job: DumpedJob) -> JobLine:
    """Return the line of a job of the script `dump`."""
    return JobLine(job.id, job.place, job.score, job.definition, job.state, job.log, job.again)


def from_key(held: HeldKey) -> Key:
    """Return the line of a dedupe key of the script `dump`."""
    return Key(held.key, held.job_id, held.until_ms)


class Whole(Struct):
    """The header and the counts of a complete file. `start`: the offset of the line after the header."""

    header: Header
    counts: dict[str, int]
    start: int
    size: int


def lines_from(path: Path, offset: int = 0) -> Iterator[tuple[int, Line]]:
    """Yield each line and the offset of its end, from `offset` on, which must be the start of a line.

    A last line without its newline is incomplete, and is left out. Raises FileRefused.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while line := file.readline(LINE_LIMIT):
                if not line.endswith(b"\n"):
                    if len(line) == LINE_LIMIT:
                        raise FileRefused(f"{path}: the line at byte {offset} is longer than {LINE_LIMIT} bytes.")
                    return
                yield offset + len(line), _parse(path, offset, line)
                offset += len(line)
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}.") from error


def _parse(path: Path, offset: int, text: bytes) -> Line:
    try:
        return _check(_decode(text))
    except (msgspec.DecodeError, UnicodeError, ValueError, KeyError, QueueyError) as error:
        raise FileRefused(
            f"{path}: the line at byte {offset} is not a line of an export of Queuey: {error}."
        ) from error


def _check(line: Line) -> Line:
    """Check the rules that the Structs cannot express. Raises ValueError."""
    if isinstance(line, JobLine):
        _check_job(line)
        _check_again(line)
    elif isinstance(line, Key):
        if not ids.is_id(line.job_id) or _KEY.fullmatch(line.key) is None:
            raise ValueError("a key needs its base64url and a job's id")
    elif isinstance(line, Lane) and (not all(map(ids.is_id, line.ids)) or line.first + len(line.ids) > 0):
        raise ValueError("a lane needs ids of jobs, and positions below 0")
    elif isinstance(line, ScheduleLine):
        _check_schedule(line)
    return line


def _check_schedule(line: ScheduleLine) -> None:
    if not (is_name(line.name) and is_record(line.record) and all(map(is_run, line.runs))):
        raise ValueError("a schedule needs its name, its record and the lines of its history")
    schedule = to_schedule(line.name, line.record)
    try:
        Ticks(read_spec(schedule.spec), schedule.anchor_ms)
    except QueueyError as error:
        raise ValueError(f"the schedule {line.name}: {error.message}") from None


def counts_of(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts as the end of a file has them: without schedules if there are none, as in older versions."""
    return {kind: counts.get(kind, 0) for kind in COUNTED if kind != "schedule" or counts.get(kind)}


def _check_job(line: JobLine) -> None:
    """Check the fields that the scripts and a worker rely on. An unreadable error is kept and shown as text."""
    if not ids.is_id(line.id):
        raise ValueError("a job needs an id")
    if _HEAD.fullmatch(line.definition.partition("\n")[0]) is None:
        raise ValueError("a definition begins with its header")
    if line.state and _STATE_HEAD.fullmatch(line.state.partition("\n")[0]) is None:
        raise ValueError("a state begins with its header")
    fields = parse_fields(line.state)
    for texts in (fields, parse_fields(line.definition)):
        if re.match(NAME_PATTERN, texts.get("q", "default")) is None or texts.get("l", "default") not in PRIORITIES:
            raise ValueError("a job needs a queue and a lane")
    if fields.get("s", "w") not in _PLACES[line.place]:
        raise ValueError(f"a job that is {line.place} has another status")
    if line.place == "running" and not {"n", "h"} <= fields.keys():
        raise ValueError("a running job needs its token")
    for texts in (fields, parse_fields(line.definition)):
        for letter in _NUMBERS & texts.keys():
            if _NUMBER.fullmatch(texts[letter]) is None:
                raise ValueError(f"{letter}={texts[letter]} is not a number")
    parse_definition(line.definition)
    if not job_log.is_log(line.log):
        raise ValueError("a log has a line for each that an attempt has logged")
    result = line.state.partition("\n")[2].partition("\n")[0]
    if result:  # answers contain the result unchanged
        msgspec.json.decode(result)


def _check_again(line: JobLine) -> None:
    """Check the job that is to follow, which the script makes by itself when this one ends."""
    if not line.again:
        return
    found = _AGAIN.match(line.again)
    fields, own = parse_fields(found[2] if found else ""), parse_fields(line.definition)
    same = all(fields.get(letter) == own.get(letter) for letter in "qlkU")
    if found is None or not ids.is_id(found[1]) or own.get("U") != "f" or not same:
        raise ValueError("a job that is to follow needs an id, and queue, lane and key of the one before it")
    parse_definition(f"r=0 {line.again[found.start(2) :]}")


def read_header(path: Path) -> Header:
    """Return the first line. Raises FileRefused, also when a newer version of Queuey wrote the file."""
    try:
        with path.open("rb") as file:
            text = file.readline(LINE_LIMIT)
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}.") from error
    _check_format(path, text)
    line = _parse(path, 0, text)
    if not isinstance(line, Header):
        raise FileRefused(
            f"{path}: it does not begin with the header of an export. Give a file that `queuey export` wrote."
        )
    return line


def _check_format(path: Path, text: bytes) -> None:
    """Check the format before the other fields, which may differ in a newer one."""
    try:
        found = _format_of(text).get("format")
    except msgspec.DecodeError:
        return  # the reader of the line reports it
    if isinstance(found, int) and found > SCHEDULE_FORMAT:
        raise FileRefused(
            f"{path} has format {found}, and this version of Queuey reads up to {SCHEDULE_FORMAT}. Import it with the "
            "version that wrote it, or a newer one."
        )


def read_whole(path: Path) -> Whole:
    """Read and check every line. Raises FileRefused unless the file is complete."""
    header = read_header(path)
    counts: Counter[str] = Counter()
    start = position = 0
    end: End | None = None
    for position, line in lines_from(path):
        if end is not None:
            raise FileRefused(f"{path}: there are lines after its end, at byte {position}.")
        if isinstance(line, End):
            end = line
        elif isinstance(line, Header):
            if start:
                raise FileRefused(f"{path}: a second header ends at byte {position}.")
            start = position
        else:
            counts[kind_of(line)] += 1
    if end is None:
        raise FileRefused(f"{path} is incomplete. Run the command that began it again, with --resume.")
    counted = counts_of(counts)
    if end.counts != counted:
        raise FileRefused(f"{path}: lines are missing. Its end counts {end.counts}, and there are {counted}.")
    return Whole(header, counted, start, position)
