"""The journal of a study: one JSON line per event, on disk before anything is made of it.

import pandas as pd; pd.read_json("journal.jsonl", lines=True)
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock, Timeout

from memcontrol.errors import SearchError
from memcontrol.search.records import Point, TrialRecord, TrialState

__all__ = ["SCHEMA", "Journal"]

SCHEMA: Final = 1


class Journal:
    """An append-only file of events.

    Args:
        path: The file.

    Raises:
        SearchError: If it was written by a newer version, or is damaged before its last line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(path.with_suffix(".lock"), timeout=0)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock against a second writer, and cut a line that was torn by a kill.

        Raises:
            SearchError: If another process writes this journal.
        """
        try:
            with self._lock:
                self._cut_torn_line()
                yield
        except Timeout as error:
            raise SearchError(
                f"The study in {self.path.parent} is being run by another process. Wait for it, stop it, or name "
                "another folder with `--search.study`."
            ) from error

    def append(self, event: str, **content: Any) -> None:
        """Write an event and wait until it is on disk.

        Raises:
            SearchError: If the disk is full or gone; what was written before stays as it was.
        """
        line = json.dumps({"schema": SCHEMA, "event": event, "time": round(time.time(), 3), **content})
        whole = self.path.stat().st_size if self.path.is_file() else 0
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write(line.encode() + b"\n")
                os.fsync(file.fileno())
                if file.tell() != whole + len(line.encode()) + 1:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, whole)
            raise SearchError(
                f"The journal {self.path} cannot be written: {error.strerror}. Make room, and run the same command "
                "again: what it holds is kept."
            ) from error

    def events(self) -> list[dict[str, Any]]:
        """Return all whole events."""
        if not self.path.is_file():
            return []
        lines = self.path.read_bytes().split(b"\n")
        found = []
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            try:
                event = json.loads(line)
            except ValueError as error:
                if number >= len(lines) - 1:
                    break  # torn by a kill
                raise SearchError(
                    f"Line {number + 1} of {self.path} is damaged: {error}. Restore it, or remove it."
                ) from error
            if event.get("schema", SCHEMA + 1) > SCHEMA:
                raise SearchError(
                    f"{self.path} has schema {event.get('schema')}, but this version reads up to {SCHEMA}. "
                    "Update memcontrol."
                )
            found.append(event)
        return found

    def active_seconds(self, most: float) -> float:
        """Return how long the study was run: the gaps between events, but for those longer than `most` seconds."""
        times = [event["time"] for event in self.events()]
        return float(sum(gap for gap in np.diff(times) if gap <= most))

    def trials(self) -> list[TrialRecord]:
        """Return what is known of each trial, by number."""
        found: dict[int, TrialRecord] = {}
        for event in self.events():
            if event["event"] == "ask":
                found[event["number"]] = _asked(event)
            elif event["event"] == "finish":
                found[event["number"]] = _finished(found[event["number"]], event)
            elif event["event"] == "reopen":
                found |= {number: _reopened(found[number]) for number in event["numbers"]}
        return [found[number] for number in sorted(found)]

    def _cut_torn_line(self) -> None:
        if not self.path.is_file():
            return
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            with self.path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)


def _asked(event: dict[str, Any]) -> TrialRecord:
    return TrialRecord(
        number=event["number"],
        state=TrialState.RUNNING,
        mask=tuple(event["mask"]),
        units=tuple(event["units"]),
        values=event["values"],
        digest=event["digest"],
        seed=event["seed"],
    )


def _finished(record: TrialRecord, event: dict[str, Any]) -> TrialRecord:
    points = tuple(Point(p["step"], tuple(p["rewards"]), p["measures"]) for p in event["points"])
    changes = {
        "state": TrialState(event["state"]),
        "points": points,
        "told": event["told"],
        "error": event["error"],
        "seconds": event["seconds"],
        "attempts": event["attempts"],
        "cause": event.get("cause"),
    }
    return TrialRecord(**{**record.__dict__, **changes})


def _reopened(record: TrialRecord) -> TrialRecord:
    kept = {name: getattr(record, name) for name in ("number", "mask", "units", "values", "digest", "seed")}
    return TrialRecord(state=TrialState.RUNNING, **kept)
