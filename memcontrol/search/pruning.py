"""Which trials go on: multi-objective successive halving, with rungs at validations.

References:
    Schmucker et al., "Multi-objective asynchronous successive halving", 2021, https://arxiv.org/abs/2106.12639
    (ranking by non-dominated fronts).
"""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import norm

from memcontrol.measures import Measurement, Point
from memcontrol.measures.statistics.intervals import Z95
from memcontrol.measures.statistics.objective import reward_of
from memcontrol.measures.statistics.pareto import dominates, front

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
    """Tell whether a point is beaten beyond its intervals and lies behind the better fronts of its rung.

    Another point must be better in every objective, so each is tested at the level of the whole (an intersection-union
    test).

    Args:
        mine: A measure for each objective.
        others: Points of other trials at the same step.
        keep: Share of a rung that must lie on better fronts before a point is given up; higher gives up fewer.
        level: One-sided level at which each objective must be beaten, in (0, 0.5); lower gives up fewer.
    """
    if len(others) < 4:
        return False
    reach = norm.isf(level) / Z95
    optimistic = []
    for measure in mine:
        value = measure.value
        assert value is not None
        best = value.high if measure.higher_is_better else value.low
        optimistic.append(reward_of(value.value + reach * (best - value.value), measure.higher_is_better))
    if not any(dominates(other.rewards, optimistic) for other in others):
        return False
    own = [m.reward for m in mine]
    found = levels([*(other.rewards for other in others), own])
    return sum(level < found[-1] for level in found[:-1]) >= keep * len(others)
