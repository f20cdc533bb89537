"""When a study stops: trials fail one after another, more than proposals could be to blame for.

It is stopped before its budget is burned: early where none has completed, and later where some have (a disk is full, a
mount is gone). Run again, it opens those failures again that may be mended outside its config; a study that was not
stopped never does, as nothing is trained twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from memcontrol.errors import DivergedError, SearchError
from memcontrol.files.journal import Journal
from memcontrol.files.run_folder import LOG
from memcontrol.search.records import TrialRecord, TrialState
from memcontrol.search.study import Study

__all__ = ["Cause", "FailureRow", "cause_of", "reopen", "stop"]

LONGEST_ROW: Final = 3
LATER_ROW: Final = 6
"""The same, once trials have completed; with many workers, twice as many as these."""


class Cause(StrEnum):
    """What a trial failed of."""

    ERROR = "error"
    """An error that was caught; it may be mended outside the config: files, disk, memory."""
    DIVERGED = "diverged"
    """Training diverged, which the proposal is to blame for."""
    DIED = "died"
    """Its workers died, once more than `search.retries`."""


def cause_of(error: str, died: bool) -> Cause:
    """Return what a trial failed of.

    Args:
        error: Class and text of the error.
        died: Whether its last worker died.
    """
    if error.startswith(DivergedError.__name__):
        return Cause.DIVERGED
    return Cause.DIED if died else Cause.ERROR


class FailureRow:
    """Counts the trials of this run that failed one after another; one that diverged has trained, so it ends a row."""

    def __init__(self) -> None:
        self.length = 0

    def add(self, cause: Cause | None) -> None:
        """Count a trial, by what it failed of, or None if it did not."""
        self.length = 0 if cause in (None, Cause.DIVERGED) else self.length + 1

    def is_too_long(self, records: Sequence[TrialRecord], workers: int = 1) -> bool:
        """Whether the study should stop.

        Args:
            records: All trials.
            workers: Trials at once, which may all fail of one thing.
        """
        has_completed = any(r.state is TrialState.COMPLETE for r in records)
        return self.length >= (max(LATER_ROW, 2 * workers) if has_completed else LONGEST_ROW)


def stop(study: Study, journal: Journal, records: Sequence[TrialRecord]) -> SearchError:
    """Record that a study is stopped, and which failures are to be opened again; returns the error to raise."""
    again = [r.number for r in records if r.state is TrialState.FAILED and r.cause == Cause.ERROR]
    journal.append("stop", reopen=again)
    last = next(e["number"] for e in reversed(journal.events()) if e["event"] == "finish")
    opened = f"it then opens the trials {', '.join(map(str, again))} again" if again else "it then goes on"
    return SearchError(
        f"The study in {study.folder} is stopped: its trials fail one after another. Trial "
        f"{last} failed of {records[last].error} That log is {study.trial(last) / LOG}. Mend what is wrong outside the "
        f"config (files, disk, devices), and run the same command again: {opened}. If the config is wrong, name "
        "another `--search.study`."
    )


def reopen(journal: Journal) -> None:
    """Open again what was failed when the study was stopped, if that is how it ended."""
    ends = [event for event in journal.events() if event["event"] in ("stop", "reopen")]
    if ends and ends[-1]["event"] == "stop":
        journal.append("reopen", numbers=ends[-1]["reopen"])
