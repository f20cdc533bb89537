"""What is known of a trial."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Point", "TrialRecord", "TrialState"]


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
class Point:
    """A trial at one validation: mask, parameters and step, with its measures.

    Args:
        step: Optimizer steps.
        rewards: Each objective as a reward (higher is better), in the order of the study.
        measures: Value, low, high and n of every measure, by name.
    """

    step: int
    rewards: tuple[float, ...]
    measures: dict[str, Any] = field(default_factory=dict)


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
        told: Rewards that the proposer was told, and at which step.
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
    told: dict[str, Any] | None = None
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    attempts: int = 1
    cause: str | None = None
