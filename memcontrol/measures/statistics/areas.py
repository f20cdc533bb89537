"""The area under the ROC curve with its interval: patients of either group are left out, one at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from memcontrol.measures.statistics.intervals import Interval, owners
from memcontrol.measures.statistics.jackknife import Deviations, counted

__all__ = ["auc_deviations", "auc_interval"]


def auc_deviations(
    inside: ArrayLike, outside: ArrayLike, inside_of: Sequence[str], outside_of: Sequence[str]
) -> Deviations:
    """Return an area, and what becomes of it without each patient.

    Args:
        inside: Scores of members, higher for more likely, with shape `(n,)`.
        outside: Scores of others, with shape `(k,)`.
        inside_of: Patient of each member's image.
        outside_of: Patient of each other image.
    """
    value, without, n = _areas(inside, outside, inside_of, outside_of)
    return Deviations(value, (without[0] - without[0].mean(), without[1] - without[1].mean()), 0.0, n)


def auc_interval(
    inside: ArrayLike, outside: ArrayLike, inside_of: Sequence[str], outside_of: Sequence[str], level: float = 0.95
) -> Interval:
    """Estimate an area: the jackknife on the scale of its log odds, with Student's t.

    Where no patient's absence changes anything (all members above all others, say), the interval reaches to what as
    many patients as the smaller group has would have shown with a probability of 2.5 %.

    Args:
        inside: Scores of members, higher for more likely, with shape `(n,)`.
        outside: Scores of others, with shape `(k,)`.
        inside_of: Patient of each member's image.
        outside_of: Patient of each other image.
        level: Nominal coverage.

    Returns:
        The probability that a member scores above another image (ties count half; 0.5 is chance), in [0, 1]. Its ends
        are NaN with fewer than three patients in a group.

    References:
        Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53 (1997).
    """
    value, without, n = _areas(inside, outside, inside_of, outside_of)
    if n < 3:
        return Interval(value, float("nan"), float("nan"), n)
    tail = (1 - level) / 2
    least = 0.25 / (len(without[0]) * len(without[1]))
    odds = [_log_odds(np.clip(side, least, 1 - least)) for side in without]
    parts = [counted([side - side.mean()]) for side in odds]
    variance = sum(parts)
    if not least < value < 1 - least or variance < 1e-12:
        edge = tail ** (1 / n)
        return Interval(
            value, min(value, edge) if value > 0.5 else 0.0, 1.0 if value > 0.5 else max(value, 1 - edge), n
        )
    freedom = variance**2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, odds, strict=True))
    middle, reach = _log_odds(np.array(value)), student.ppf(1 - tail, freedom) * np.sqrt(variance)
    low, high = (float(1 / (1 + np.exp(-end))) for end in (middle - reach, middle + reach))
    return Interval(value, low, high, n)


def _log_odds(share: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.log(share / (1 - share))
    return found


def _areas(
    inside: ArrayLike, outside: ArrayLike, inside_of: Sequence[str], outside_of: Sequence[str]
) -> tuple[float, tuple[np.ndarray, np.ndarray], int]:
    """Return the area, the areas without each patient of either group, and the smaller number of patients."""
    a, b = np.asarray(inside, dtype=np.float64), np.asarray(outside, dtype=np.float64)
    (owner_a, num_a), (owner_b, num_b) = owners(inside_of), owners(outside_of)
    wins_a, wins_b = _wins(a, b), len(a) - _wins(b, a)
    total = wins_a.sum()
    without = []
    for wins, owner, num, others in ((wins_a, owner_a, num_a, len(b)), (wins_b, owner_b, num_b, len(a))):
        counts, won = np.bincount(owner, minlength=num), np.bincount(owner, weights=wins, minlength=num)
        left = np.maximum(len(owner) - counts, 1)
        without.append((total - won) / (left * others))
    return float(total / (len(a) * len(b))), (without[0], without[1]), min(num_a, num_b)


def _wins(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how many of the others lie below each score, where ties count half."""
    ranked = np.sort(others)
    return (np.searchsorted(ranked, scores, "left") + np.searchsorted(ranked, scores, "right")) / 2
