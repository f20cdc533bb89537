"""A journal is read on as it grows, and a torn or damaged line is not taken for an event."""

from __future__ import annotations

import json

import pytest

from memcontrol.errors import SearchError
from memcontrol.files.journal import SCHEMA, Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study" / "journal.jsonl"


def numbers(journal):
    return [event["number"] for event in journal.events()]


def line(number, schema=SCHEMA):
    return json.dumps({"schema": schema, "event": "e", "time": 0.0, "number": number}).encode() + b"\n"


def add(path, content):
    with path.open("ab") as file:
        file.write(content)


def test_events_are_read_on(path):
    writer, reader = Journal(path), Journal(path)
    assert numbers(reader) == []
    writer.append("started", number=1, mask="bits:01")
    assert [(e["event"], e["mask"]) for e in reader.events()] == [("started", "bits:01")]
    writer.append("ended", number=2)
    writer.append("ended", number=3)
    assert numbers(reader) == numbers(reader) == numbers(writer) == numbers(Journal(path)) == [1, 2, 3]


def test_only_what_was_added_is_read(path):
    journal = Journal(path)
    add(path, line(1) + line(2))
    assert numbers(journal) == [1, 2]
    path.write_bytes(line(8) + line(9) + line(3))  # the first two are known, and not read again
    assert numbers(journal) == [1, 2, 3]


def test_torn_line_is_no_event_until_it_is_whole(path):
    journal = Journal(path)
    add(path, line(1) + line(2)[:10])
    assert numbers(journal) == numbers(journal) == [1]
    add(path, line(2)[10:] + line(3))
    assert numbers(journal) == [1, 2, 3]


def test_torn_line_is_cut_before_more_is_written(path):
    journal = Journal(path)
    add(path, line(1) + line(2)[:10])
    with journal.writing():
        journal.append("e", number=3)
    assert numbers(journal) == numbers(Journal(path)) == [1, 3]


def test_damaged_line_is_refused(path):
    journal = Journal(path)
    add(path, line(1) + b'{"schema": 1, "ev\n' + line(3))
    for _ in range(2):  # and stays so
        with pytest.raises(SearchError, match=r"Line 2 of .*journal.jsonl is damaged"):
            journal.events()


def test_newer_schema_is_refused(path):
    journal = Journal(path)
    add(path, line(1, schema=SCHEMA + 1))
    with pytest.raises(SearchError, match=f"has schema {SCHEMA + 1}, but this version reads up to {SCHEMA}"):
        journal.events()


def test_shorter_file_is_read_anew(path):
    journal = Journal(path)
    add(path, line(1) + line(2))
    assert numbers(journal) == [1, 2]
    path.write_bytes(line(7))
    assert numbers(journal) == [7]
    add(path, line(8))
    assert numbers(journal) == [7, 8]


def test_active_seconds_leave_out_long_gaps(path):
    journal = Journal(path)
    add(path, b"".join(line(1).replace(b'"time": 0.0', b'"time": %d' % t) for t in (0, 10, 400, 430)))
    assert journal.active_seconds(most=60) == 40
