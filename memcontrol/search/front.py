"""The Pareto archive of a study: exact, over all validations of all trials, scored again before a pick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from moocore import hypervolume

from memcontrol.measures import Point
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.measures.statistics.pareto import front
from memcontrol.search.options import Bounds
from memcontrol.search.records import PointId, TrialRecord

__all__ = ["FrontPoint", "archive", "hypervolume_of", "knee", "pick", "trials_since_growth", "volume_over_trials"]


@dataclass(frozen=True)
class FrontPoint:
    """A point of the front.

    Args:
        id: Which point of the study it is.
        point: Its rewards and measures, scored again where they were.
        reported: The same as the trial reported them.
        is_rescored: Whether it was scored again.
    """

    id: PointId
    point: Point
    reported: Point
    is_rescored: bool

    @property
    def rewards(self) -> tuple[float, ...]:
        """Rewards (higher is better), scored again where they were."""
        return self.point.rewards

    @property
    def measures(self) -> Mapping[str, Interval]:
        """Every measure, scored again where it was."""
        return self.point.measures


def archive(records: Sequence[TrialRecord], rescored: Mapping[PointId, Point]) -> list[FrontPoint]:
    """Return the points that no other dominates.

    Args:
        records: All trials.
        rescored: What was scored again. A point that was not takes part, unless it was beaten as its trial reported it:
            it is new, or its checkpoint is gone. It is compared as it was reported, moved by what scoring again has
            moved the others on average: all points share the seed of a scoring, and so a part of its error.
    """
    points = _points(records, rescored)
    unbeaten = set(front([p.reported.rewards for p in points]))
    pool = [p for i, p in enumerate(points) if p.is_rescored or i in unbeaten]
    return [pool[i] for i in front(_compared(pool))]


def contenders(records: Sequence[TrialRecord], rescored: Mapping[PointId, Point]) -> list[FrontPoint]:
    """Return the points that are to be scored again: also those that come forward where others have fallen."""
    points = _points(records, rescored)
    return [points[i] for i in front(_compared(points)) if not points[i].is_rescored]


def _points(records: Sequence[TrialRecord], rescored: Mapping[PointId, Point]) -> list[FrontPoint]:
    points = []
    for record in records:
        kept = front([point.rewards for point in record.points])  # of others, no checkpoint was kept
        for point in (record.points[i] for i in kept):
            key = PointId(record.number, point.step, point.scale)
            points.append(FrontPoint(key, rescored.get(key, point), point, key in rescored))
    return points


def _compared(points: Sequence[FrontPoint]) -> list[tuple[float, ...]]:
    """Return the rewards by which points are compared."""
    moved = [np.subtract(p.rewards, p.reported.rewards) for p in points if p.is_rescored]
    shift = np.mean(moved, axis=0) if moved else 0.0
    return [p.rewards if p.is_rescored else tuple(np.add(p.rewards, shift).tolist()) for p in points]


def hypervolume_of(rewards: np.ndarray, reference: np.ndarray) -> float:
    """Return the volume that points with shape `(n, K)` dominate above a reference (all higher-is-better)."""
    above = rewards[(rewards > reference).all(axis=1)]
    return float(hypervolume(-above, ref=-reference)) if len(above) else 0.0


def volume_over_trials(records: Sequence[TrialRecord]) -> list[tuple[int, float]]:
    """Return the hypervolume after each finished trial, as a share of the last one, in [0, 1]."""
    finished = [r for r in records if r.points]
    if not finished:
        return []
    every = np.array([p.rewards for r in finished for p in r.points])
    reference = every.min(axis=0) - 1e-3 * (np.ptp(every, axis=0) + 1e-12)
    total = hypervolume_of(every, reference) or 1.0
    found, rows = [], []
    for record in finished:
        rows += [p.rewards for p in record.points]
        found.append((record.number, hypervolume_of(np.array(rows), reference) / total))
    return found


def trials_since_growth(records: Sequence[TrialRecord], tolerance: float = 1e-3) -> int:
    """Return how many trials have finished since the hypervolume last grew by more than a share of it.

    The reference lies a tenth of the front's range below its worst, so that bad trials do not move it.
    """
    finished = [r for r in records if r.state.is_finished]
    points = [p.rewards for r in finished for p in r.points]
    if not points:
        return 0
    best = np.array([points[i] for i in front(points)])
    reference = best.min(axis=0) - 0.1 * np.ptp(best, axis=0) - 1e-9
    rows: list[tuple[float, ...]] = []
    known, last = 0.0, 0
    for number, record in enumerate(finished, 1):
        rows += [p.rewards for p in record.points]
        volume = hypervolume_of(np.array(rows), reference) if rows else 0.0
        if volume > known * (1 + tolerance):
            known, last = volume, number
    return len(finished) - last


def knee(rewards: np.ndarray, widths: np.ndarray | None = None) -> int:
    """Return the point that lies nearest to the best of all rewards, each scaled to [0, 1] over the front.

    Args:
        rewards: Rewards with shape `(n, K)`.
        widths: Half widths of their intervals, with shape `(n, K)`: a reward whose values on the front differ by less
            than its intervals are wide is scaled by the intervals, so that noise does not decide.
    """
    spread = np.ptp(rewards, axis=0) + 1e-12
    if widths is not None:
        spread = np.maximum(spread, 2 * np.nan_to_num(widths).mean(axis=0))
    return int(np.argmin(np.linalg.norm((rewards.max(axis=0) - rewards) / spread, axis=1)))


def _half_widths(point: FrontPoint, objectives: Sequence[str]) -> list[float]:
    found = [point.measures.get(name) for name in objectives]
    return [(m.high - m.low) / 2 if m is not None and np.isfinite(m.high) else 0.0 for m in found]


def pick(points: Sequence[FrontPoint], how: str | Bounds, objectives: Sequence[str]) -> FrontPoint | None:
    """Choose a point: `knee`, the best in the first (`memorization`) or last (`quality`) reward, or that within bounds.

    Returns:
        The point; None if none lies within the bounds.
    """
    if isinstance(how, Bounds):
        points = [point for point in points if how.met_by(point.measures)]
        return (
            pick(points, "memorization" if how.bounds_only(objectives[-1]) else "quality", objectives)
            if points
            else None
        )
    rewards = np.array([p.rewards for p in points])
    if how == "knee":
        return points[knee(rewards, np.array([_half_widths(p, objectives) for p in points]))]
    return points[int(np.argmax(rewards[:, 0 if how == "memorization" else -1]))]
