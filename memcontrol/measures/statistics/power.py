"""What a test of copies could have found."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import numpy as np
from scipy.stats import beta, binom, nhypergeom

__all__ = ["LEAST", "POWER", "detectable_share"]

LEAST: Final = 20
"""Patients of either side without whom there is no verdict."""
POWER: Final = 0.8
"""Probability of finding with which a smallest effect is stated."""


def detectable_share(n: int, k: int, rank: int, level: float, power: float = 0.8) -> float:
    """Return the smallest share of copies among pictures that `p_exceed` finds at a level with this power.

    Every copy lies above the threshold; of other pictures a share does that depends on which held-out patients set the
    threshold, and follows a beta distribution.

    Args:
        n: Patients whose pictures are tested.
        k: Held-out patients that set the threshold.
        rank: Which of their largest values it is.
        level: Level of the test, with its share of Holm's correction.
        power: Probability of finding.

    Returns:
        The share in [0, 1], or NaN where even copies only would not be found.

    Example:
        >>> round(detectable_share(200, 90, 1, 0.01 / 8), 3)
        0.098
    """
    enough = bisect_left(range(1, n + 1), True, key=lambda count: _p(count, n, k, rank) < level) + 1 if n else 1
    if not n or k < rank or enough > n:
        return float("nan")
    above = beta.ppf((np.arange(200) + 0.5) / 200, rank, k + 1 - rank)
    shares = np.linspace(0, 1, 1001)
    found = binom.sf(enough - 1, n, above[None] + (1 - above[None]) * shares[:, None]).mean(axis=1)
    likely = shares[found >= power]
    return float(likely[0]) if len(likely) else float("nan")


def _p(count: int, n: int, k: int, rank: int) -> float:
    """Return the p-value of so many patients above the threshold; it falls with their number."""
    return float(nhypergeom.sf(count - 1, n + k, n, rank)) if k >= rank else 1.0
