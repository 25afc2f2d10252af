"""The lines of an export file: what is refused, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from queuey.errors import FileRefused
from queuey.services.transfer import file_format as export_file
from queuey.services.transfer.file_format import (
    SCHEDULE_FORMAT,
    Checkpoint,
    End,
    Header,
    JobLine,
    Key,
    Lane,
    Queue,
    ScheduleLine,
    encode_line,
    lines_from,
    read_header,
    read_whole,
)
from queuey.store.broker.calls import DATA_FORMAT

ID = "FX01M86XA2P36HASQZ19JJEJT08G"
HEADER = Header(DATA_FORMAT, "export1", 2, "queuey", "0.1.0", 1)
JOB = JobLine(ID, "ready", 0, 'r=5 q=mail A=later\n{"type":"t","payload":[1.0]}', "")
DONE = JobLine(ID, "finished", 9, 'r=5\n{"type":"t"}', 's=s n=1 p=1.ab o=s f=7 j=17\n"r"')
SCHEDULE = ScheduleLine(
    "report", 'u=U1 v=1 a=3 n=5\n\n{"every":60.0,"job":{"type":"t"}}', [f"4 4 tick fired {ID} 1", "1 2 tick missed - 3"]
)
LINES: list[Any] = [
    HEADER,
    Queue(0, "mail", ""),
    Key("a2V5", ID, 10),
    Checkpoint("keys", 0, "run"),
    JOB,
    Checkpoint("jobs", 0, "run"),
    Lane("mail", "high", -1, [ID]),
    End({"queue": 1, "key": 1, "job": 1, "lane": 1}, 2),
]


def written(path: Path, *lines: Any) -> Path:
    path.write_bytes(b"".join(line if isinstance(line, bytes) else encode_line(line) for line in lines))
    return path


def changed(line: Any, **fields: Any) -> bytes:
    return json.dumps(json.loads(encode_line(line)) | fields).encode() + b"\n"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = written(tmp_path / "f", *LINES)
    assert [line for _, line in lines_from(file)] == LINES
    whole = read_whole(file)
    assert (whole.header, whole.start, whole.size) == (HEADER, len(encode_line(HEADER)), file.stat().st_size)
    assert whole.counts == {"queue": 1, "key": 1, "job": 1, "lane": 1}
    ends = [end for end, _ in lines_from(file)]
    assert [line for _, line in lines_from(file, ends[3])] == LINES[4:]


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    assert list(lines_from(written(tmp_path / "f", changed(JOB, colour="red")))) == [
        (len(changed(JOB, colour="red")), JOB)
    ]


def test_a_newer_format_is_refused_before_all_else(tmp_path: Path) -> None:
    for header in (changed(HEADER, format=SCHEDULE_FORMAT + 1), b'{"kind":"new thing","format":99}\n'):
        file = written(tmp_path / "f", header, b"what this version cannot read\n")
        for read in (read_header, read_whole):
            with pytest.raises(
                FileRefused, match=rf"has format \d+, and this version of Queuey reads up to {SCHEDULE_FORMAT}"
            ):
                read(file)


@pytest.mark.parametrize(
    "line",
    [
        b"no json\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"{}\n",
        b'{"kind":"unknown"}\n',
        changed(JOB, id="short"),
        changed(JOB, place="nowhere"),
        changed(JOB, place="running"),
        changed(JOB, at_ms=-1),
        changed(JOB, definition='{"type":"t"}'),
        changed(JOB, definition="r=5"),
        changed(JOB, definition='r=5 q=a b\n{"type":"t"}'),
        changed(JOB, definition='r=5\n{"payload":"without a type"}'),
        changed(JOB, definition='r=5 q=a:b\n{"type":"t"}'),
        changed(JOB, definition='r=5 l=urgent\n{"type":"t"}'),
        changed(JOB, definition='r=5 t=soon\n{"type":"t"}'),
        changed(JOB, definition='r=5 m=-1\n{"type":"t"}'),
        changed(JOB, state="no header"),
        changed(JOB, state="s=s f=1 j=2"),
        changed(DONE, state="s=r n=1 h=ab"),
        changed(DONE, state="s=s n=x"),
        changed(DONE, state="s=s q=a:b"),
        changed(DONE, state="s=s f=1\nodd result"),
        changed(DONE, place="running", state="s=r n=1"),
        changed(LINES[2], key="a b"),
        changed(LINES[2], key="x:digest"),
        changed(LINES[2], job_id="x"),
        changed(LINES[6], ids=["x"]),
        changed(LINES[6], first=0),
        changed(LINES[6], first=-1, ids=[ID, ID]),
        changed(LINES[6], priority="urgent"),
        changed(LINES[1], name="a:b"),
        changed(SCHEDULE, name="a:b"),
        changed(SCHEDULE, name="n" * 129),
        changed(SCHEDULE, record="u=U1 v=1 a=3"),
        changed(SCHEDULE, record="n=1\n\n{}"),
        changed(SCHEDULE, runs=["4 4 tick fired"]),
        changed(SCHEDULE, runs=["1 2 tick missed - 3"] * 51),
    ],
)
def test_a_line_that_cannot_be_is_named(tmp_path: Path, line: bytes) -> None:
    file = written(tmp_path / "f", HEADER, line, LINES[-1])
    with pytest.raises(FileRefused, match=f"the line at byte {len(encode_line(HEADER))} is not a line of an export"):
        read_whole(file)


def test_schedules_are_counted_only_if_there_are_some(tmp_path: Path) -> None:
    """An older version, which does not know them, reads a file without any."""
    header = Header(SCHEDULE_FORMAT, "export1", 2, "queuey", "0.1.0", 1)
    counts = {"queue": 0, "key": 0, "job": 0, "lane": 0}
    assert read_whole(written(tmp_path / "a", header, End(counts, 2))).counts == counts
    counts |= {"schedule": 1}
    file = written(tmp_path / "b", header, SCHEDULE, Checkpoint("schedules", 0, "run"), End(counts, 2))
    assert read_whole(file).counts == counts
    with pytest.raises(FileRefused, match="lines are missing"):
        read_whole(written(tmp_path / "c", header, End(counts, 2)))


@pytest.mark.parametrize("line", [JOB, DONE, changed(DONE, place="running", at_ms=3, state="s=r n=2 h=ab z=1")])
def test_jobs_that_can_be(tmp_path: Path, line: Any) -> None:
    end = End({"queue": 0, "key": 0, "job": 1, "lane": 0}, 2)
    assert read_whole(written(tmp_path / "f", HEADER, line, end)).counts["job"] == 1


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (LINES[:-1], "is incomplete. Run the command that began it again, with --resume"),
        ([*LINES[:-1], encode_line(LINES[-1])[:-1]], "is incomplete"),
        ([*LINES[:4], *LINES[5:]], "lines are missing"),
        ([*LINES, JOB], "there are lines after its end"),
        ([HEADER, HEADER, *LINES[1:]], "a second header"),
        (LINES[1:], "does not begin with the header"),
        ([], "not a line of an export"),
        ([changed(HEADER, shards=0)], "not a line of an export"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, lines: list[Any], why: str) -> None:
    with pytest.raises(FileRefused, match=why):
        read_whole(written(tmp_path / "f", *lines))


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_file, "LINE_LIMIT", 500)
    with pytest.raises(FileRefused, match="longer than 500 bytes"):
        read_whole(written(tmp_path / "f", HEADER, b"x" * 501))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for read in (read_header, read_whole):
        with pytest.raises(FileRefused, match="No such file"):
            read(tmp_path / "f")
