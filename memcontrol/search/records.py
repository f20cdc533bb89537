"""What is known of a trial, as the journal tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from memcontrol.errors import SearchError
from memcontrol.files.journal import Journal
from memcontrol.measures import Point

__all__ = ["PointId", "TrialLog", "TrialRecord", "TrialState", "read_rescored", "read_trials"]


class TrialState(StrEnum):
    """State of a trial; those after RUNNING are final, but for FAILED where a study was stopped (see `stop`)."""

    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"

    @property
    def is_finished(self) -> bool:
        """Whether the trial has ended."""
        return self is not TrialState.RUNNING


@dataclass(frozen=True)
class PointId:
    """Which point of a study: a trial at a step. What else tells points apart becomes a field with a default.

    Args:
        trial: Number of the trial.
        step: Optimizer steps.
        scale: How far from the base to what was trained the model had gone, in [0, 1].
    """

    trial: int
    step: int
    scale: float = 1.0

    def __str__(self) -> str:
        """Return `trial@step`, with `x scale` where that is not 1."""
        return f"{self.trial}@{self.step}" + ("" if self.scale == 1 else f" x {self.scale:g}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as journals hold them."""
        return {"number": self.trial, "step": self.step, **({} if self.scale == 1 else {"scale": self.scale})}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PointId:
        """Undo `to_dict`."""
        return cls(int(values["number"]), int(values["step"]), float(values.get("scale", 1.0)))


@dataclass(frozen=True)
class TrialRecord:
    """A trial, as the journal tells it.

    Args:
        number: Its number, from 0.
        state: Its state.
        mask: Bit of each slot.
        units: Number in [0, 1] of each parameter.
        values: Value of each parameter, by its key.
        digest: Digest of mask and values.
        seed: Seed of the run.
        points: Its validations.
        reported: Rewards that the proposer was told, and at which step.
        error: Class and text of the error, without paths, if it failed.
        seconds: Time spent, by what it was spent on.
        attempts: How often it was started.
        cause: What it failed of (a `Cause`), if it failed.
    """

    number: int
    state: TrialState
    mask: tuple[int, ...]
    units: tuple[float, ...]
    values: dict[str, Any]
    digest: str
    seed: int
    points: tuple[Point, ...] = ()
    reported: dict[str, Any] | None = None
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    attempts: int = 1
    cause: str | None = None


class TrialLog:
    """All trials of a study, from its journal, which is read on as it grows.

    Args:
        journal: The journal.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._found: dict[int, TrialRecord] = {}
        self._read = 0

    def all(self) -> list[TrialRecord]:
        """Return what is known of each trial, by number."""
        events = self.journal.events()
        if len(events) < self._read:  # another journal by that name
            self._found, self._read = {}, 0
        for number, event in enumerate(events[self._read :], self._read + 1):
            try:
                self._take(event)
            except (KeyError, TypeError, ValueError) as error:
                raise SearchError(
                    f"Line {number} of {self.journal.path} tells of no trial as a journal does: {error!r}. Restore the "
                    "journal, or remove the line."
                ) from error
        self._read = len(events)
        return [self._found[number] for number in sorted(self._found)]

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "ask":
            self._found[event["number"]] = _asked(event)
        elif event["event"] == "finish":
            self._found[event["number"]] = _finished(self._found[event["number"]], event)
        elif event["event"] == "reopen":
            self._found |= {number: _reopened(self._found[number]) for number in event["numbers"]}


def read_trials(journal: Journal) -> list[TrialRecord]:
    """Return what a journal tells of each trial, by number."""
    return TrialLog(journal).all()


def read_rescored(journal: Journal) -> dict[PointId, Point]:
    """Return what a journal tells of points that were scored again: of each the last time."""
    events = (event for event in journal.events() if event["event"] == "rescore")
    return {PointId.from_dict(event): Point.from_dict(event) for event in events}


def _asked(event: dict[str, Any]) -> TrialRecord:
    return TrialRecord(
        number=event["number"],
        state=TrialState.RUNNING,
        mask=tuple(map(int, event["mask"])),
        units=tuple(event["units"]),
        values=event["values"],
        digest=event["digest"],
        seed=event["seed"],
    )


def _finished(record: TrialRecord, event: dict[str, Any]) -> TrialRecord:
    return replace(
        record,
        state=TrialState(event["state"]),
        points=tuple(Point.from_dict(point) for point in event["points"]),
        reported=event["told"],
        error=event["error"],
        seconds=event["seconds"],
        attempts=event["attempts"],
        cause=event.get("cause"),
    )


def _reopened(record: TrialRecord) -> TrialRecord:
    kept = {name: getattr(record, name) for name in ("number", "mask", "units", "values", "digest", "seed")}
    return TrialRecord(state=TrialState.RUNNING, **kept)
