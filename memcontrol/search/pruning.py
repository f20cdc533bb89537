"""Which trials go on: multi-objective successive halving, with rungs at validations.

References:
    Schmucker et al., "Multi-objective asynchronous successive halving", 2021, https://arxiv.org/abs/2106.12639
    (ranking by non-dominated fronts).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.stats import norm

from memcontrol.measures import Measurement, Point
from memcontrol.measures.statistics.intervals import Z95
from memcontrol.measures.statistics.pareto import front

__all__ = ["is_hopeless", "levels"]


def levels(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the number of the front that each point lies on, from 0; all values are higher-is-better.

    Example:
        >>> levels([(1.0, 1.0), (0.0, 0.0), (2.0, 0.0)])
        [0, 1, 0]
    """
    found = [0] * len(points)
    left = list(range(len(points)))
    level = 0
    while left:
        best = [left[i] for i in front([points[i] for i in left])]
        for i in best:
            found[i] = level
        left = [i for i in left if i not in best]
        level += 1
    return found


def is_hopeless(mine: Sequence[Measurement], others: Sequence[Point], keep: float = 0.1, level: float = 0.1) -> bool:
    """Tell whether a point is beaten beyond both intervals and lies behind the better fronts of its rung.

    Another point must be better in every objective, so each is tested at the level of the whole (an intersection-union
    test). The rivals' values are as uncertain as this point's, and the best of many is the luckiest: the level is
    divided by their number.

    Args:
        mine: A measure for each objective.
        others: Points of other trials at the same step.
        keep: Share of a rung that must lie on better fronts before a point is given up; higher gives up fewer.
        level: Chance that a point is given up that no other beats, in (0, 0.5); lower gives up fewer.
    """
    if len(others) < 4:
        return False
    needed = norm.isf(level / len(others))
    if not any(
        all(_leads(other, m, reward, needed) for m, reward in zip(mine, other.rewards, strict=True)) for other in others
    ):
        return False
    own = [m.reward for m in mine]
    found = levels([*(other.rewards for other in others), own])
    return sum(level < found[-1] for level in found[:-1]) >= keep * len(others)


def _leads(other: Point, mine: Measurement, reward: float, needed: float) -> bool:
    """Tell whether another point's reward lies above this one's by so many standard errors of their difference."""
    assert mine.value is not None
    theirs = other.measures.get(mine.name)
    spreads = [interval.high - interval.low for interval in (mine.value, theirs) if interval is not None]
    error = math.hypot(*(spread if math.isfinite(spread) else 0.0 for spread in spreads)) / (2 * Z95)
    return reward - mine.reward > needed * error
