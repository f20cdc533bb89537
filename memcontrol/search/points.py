"""Read what a trial has measured, and choose what the proposer is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from memcontrol.errors import DivergedError, MemControlError
from memcontrol.measures import Point, directions
from memcontrol.measures.score_log import Scored, read_scores
from memcontrol.measures.statistics.pareto import front
from memcontrol.seeds import derive_seed

__all__ = ["best_point", "directions_of", "expected_point", "read_points"]


def read_points(folder: Path, objectives: Sequence[str]) -> tuple[tuple[Point, ...], str | None]:
    """Read the validations of a run from its `rewards.jsonl`; the base, at step 0, is left out.

    Args:
        folder: Run folder.
        objectives: Measures that are traded off.

    Returns:
        Its points, in order of steps and scales, and why one is left out: a measure is missing, was not estimable, or
        is not finite. None if none is.
    """
    found: dict[tuple[int, float], Point] = {}
    why = None
    for scored in read_scores(folder):
        if scored.step > 0:
            try:
                found[scored.step, scored.scale] = _point(scored, objectives, folder)
            except MemControlError as error:
                why = f"{type(error).__name__}: {error}"
    return tuple(found[key] for key in sorted(found)), why


def _point(scored: Scored, objectives: Sequence[str], folder: Path) -> Point:
    point = Point.of(scored.step, scored.measurements, objectives, scored.scale)
    for name, reward in zip(objectives, point.rewards, strict=True):
        if not math.isfinite(reward):
            raise DivergedError(f"{folder.name} has a `{name}` of {reward}: training has diverged.")
    return point


def best_point(points: Sequence[Point], others: Sequence[Point], number: int, seed: int) -> Point:
    """Choose a trial's best point under weights of its own, so that all of the front is looked for.

    Args:
        points: Points of the trial.
        others: Points of earlier trials; the front of all sets the scale, which no bad trial moves.
        number: Number of the trial, which with the seed decides its weights.
        seed: Seed of the study.
    """
    rewards = np.array([p.rewards for p in points])
    known = np.array([p.rewards for p in (*points, *others)])
    best = known[front([tuple(row) for row in known])]
    of_front = np.ptp(best, axis=0)
    spread = np.where(of_front > 0, of_front, np.ptp(known, axis=0)) + 1e-12
    low = best.min(axis=0) - spread  # from further down, else the ends of the front would never be the best
    weights = np.random.default_rng(derive_seed(seed, "weights", number)).dirichlet(np.ones(rewards.shape[1]))
    scores = (weights * (rewards - low) / spread).min(axis=1) + 0.05 * (weights * (rewards - low) / spread).sum(axis=1)
    return points[int(np.argmax(scores))]


def worst_of(points: Sequence[Point]) -> Point | None:
    """Return what is told of a trial that diverged, the worst of each reward that is known, or None where none is."""
    if not points:
        return None
    return Point(0, tuple(np.array([p.rewards for p in points]).min(axis=0).tolist()), {})


def expected_point(point: Point, finished: Sequence[Sequence[Point]]) -> Point:
    """Return what a trial that was stopped early would have come to, by the mean growth of finished trials.

    The proposer would otherwise hold an early value for that of the mask.

    Args:
        point: The last point of the trial.
        finished: Points of trials that ran to their end; where they were scored at other scales, their largest counts.
    """
    growth = []
    for points in finished:
        alike = [p for p in points if p.scale == point.scale] or [p for p in points if p.scale == points[-1].scale]
        here = next((p for p in alike if p.step == point.step), None)
        if here is not None and alike[-1].step > point.step:
            growth.append(np.array(alike[-1].rewards) - np.array(here.rewards))
    if not growth:
        return point
    return replace(point, rewards=tuple((np.array(point.rewards) + np.mean(growth, axis=0)).tolist()))


def directions_of(points: Sequence[Point], objectives: Sequence[str]) -> dict[str, bool]:
    """Return whether more is better of each objective.

    A measure of ours says so itself; of another, the reward is the value, or that with its sign turned.
    """
    known = directions()
    return {
        name: known[name]
        if name in known
        else not any(
            abs(point.rewards[k] + point.measures[name].value) < abs(point.rewards[k])
            for point in points
            if name in point.measures
        )
        for k, name in enumerate(objectives)
    }
