"""A journal: one JSON line per event, on disk before anything is made of it, and read on as it grows.

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

__all__ = ["JOURNAL", "SCHEMA", "Journal"]

SCHEMA: Final = 1
JOURNAL: Final = "journal.jsonl"
"""What the journal of a study or a comparison is called."""


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
        self._events: list[dict[str, Any]] = []
        self._read = 0
        """Bytes that have been read."""
        self._inode = 0

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
        """Return all whole events; of a file that was read before, only what was added is read."""
        status = self.path.stat() if self.path.is_file() else None
        size, inode = (status.st_size, status.st_ino) if status is not None else (0, 0)
        if size < self._read or inode != self._inode:  # another file by that name
            self._events, self._read, self._inode = [], 0, inode
        if size > self._read:
            with self.path.open("rb") as file:
                file.seek(self._read)
                self._take(file.read())
        return list(self._events)

    def active_seconds(self, most: float) -> float:
        """Return how long the journal was written to: the gaps between events, but for those over `most` seconds.

        A clock that was set back counts for nothing.
        """
        times = [event["time"] for event in self.events()]
        return float(sum(gap for gap in np.diff(times) if 0 <= gap <= most))

    def _take(self, added: bytes) -> None:
        """Parse whole lines; one without an end may still be written, or was torn by a kill."""
        for line in added.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            if line.strip():
                self._events.append(self._parsed(line))
            self._read += len(line)

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            event: dict[str, Any] = json.loads(line)
        except (RecursionError, ValueError) as error:
            raise SearchError(
                f"Line {len(self._events) + 1} of {self.path} is damaged: {error}. Restore it, or remove it."
            ) from error
        if not isinstance(event, dict) or "event" not in event or not isinstance(event.get("time"), int | float):
            raise SearchError(f"Line {len(self._events) + 1} of {self.path} is no event. Restore it, or remove it.")
        if not isinstance(event.get("schema"), int) or event["schema"] > SCHEMA:
            raise SearchError(
                f"{self.path} has schema {event.get('schema')}, but this version reads up to {SCHEMA}. "
                "Update memcontrol."
            )
        return event

    def _cut_torn_line(self) -> None:
        if not self.path.is_file():
            return
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            with self.path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)
