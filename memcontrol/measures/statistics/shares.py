"""Shares with exact intervals, for images that belong to patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta
from scipy.stats import t as student

from memcontrol.measures.statistics.intervals import Interval, clustered_mean

__all__ = ["is_share", "share_interval"]


def is_share(values: ArrayLike) -> bool:
    """Whether values are hits and misses: 1 and 0 alone."""
    return bool(np.isin(np.asarray(values, dtype=np.float64), (0.0, 1.0)).all())


def share_interval(values: ArrayLike, subjects: Sequence[str], level: float = 0.95) -> Interval:
    """Estimate a share by Clopper and Pearson's interval with the number of images that patients leave of them.

    Args:
        values: 1 for a hit and 0 for none, with shape `(n,)`.
        subjects: Patient of each.
        level: Nominal coverage; without hits, or without misses, the interval is that of the patients.

    Returns:
        The share in [0, 1] with its interval, which never has width 0.

    References:
        Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated
        from survey data", Survey Methodology 24 (1998).

    Example:
        >>> print(share_interval([0, 0, 0, 0, 0, 0], list("aabbcc")))
        0.0000 [0.0000, 0.7076]
    """
    tail = (1 - level) / 2
    share, error, patients = clustered_mean(values, subjects)
    images = len(subjects)
    count = float(patients)
    if 0 < share < 1 and error > 0:
        shrink = student.ppf(1 - tail, images - 1) / student.ppf(1 - tail, patients - 1)
        count = min(share * (1 - share) / error**2, images) * shrink**2
    hits, misses = share * count, (1 - share) * count
    low = float(beta.ppf(tail, hits, misses + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, misses)) if misses > 0 else 1.0
    return Interval(share, low, high, patients)
