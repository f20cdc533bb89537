"""What a test of copies could have found."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.stats import beta, binom, nhypergeom

__all__ = ["LEAST", "POWER", "detectable_share"]

LEAST: Final = 20
"""Patients of either side without whom there is no verdict."""
POWER: Final = 0.8
"""Probability of finding with which a smallest effect is stated."""
DRAWS: Final = 4000
"""Audits that a power is reckoned from."""


def detectable_share(
    n: int, thresholds: Sequence[tuple[int, int]], level: float, beside_base: bool = False, power: float = POWER
) -> float:
    """Return the smallest share of copies among pictures that is found at a level with this power.

    It is found where every test finds it: `p_exceed` against each threshold, and more copies than the untouched base
    draws. Every copy lies above a threshold; of other pictures, and of the base's, a share does that depends on which
    patients set it, and follows a beta distribution. Shares are tried with the same draws, so that more is never less.

    Args:
        n: Patients whose pictures are tested, one each.
        thresholds: Of each, the patients that set it, and which of their largest values it is, from 1.
        level: Level of the test, with its share of Holm's correction.
        beside_base: Whether the base's pictures must hold fewer.
        power: Probability of finding.

    Returns:
        The share in [0, 1], or NaN where even copies only would not be found.

    Example:
        >>> detectable_share(200, [(90, 1)], 0.01 / 8) < detectable_share(200, [(90, 1), (180, 1)], 0.01 / 8, True)
        True
    """
    if not n or any(k < rank for k, rank in thresholds):
        return float("nan")
    rng = np.random.default_rng(0)
    uniform = rng.random((2 + len(thresholds), DRAWS))
    strays = [beta.ppf(rng.random(DRAWS), rank, k + 1 - rank) for k, rank in thresholds]  # of pictures that are no copy
    tails = [nhypergeom.sf(np.arange(n + 1) - 1, n + k, n, rank) for k, rank in thresholds]

    def is_enough(share: float) -> bool:
        copies = binom.ppf(uniform[0], n, share)
        above = [copies + binom.ppf(u, n - copies, stray) for u, stray in zip(uniform[2:], strays, strict=True)]
        found = np.all([tail[hits.astype(int)] < level for tail, hits in zip(tails, above, strict=True)], axis=0)
        if beside_base:
            fewer = binom.ppf(uniform[1], n - above[0], strays[0])
            more = above[0] * (1 - strays[0])
            found &= binom.sf(np.ceil(more) - 1, np.ceil(more) + fewer, 0.5) < level
        return bool(found.mean() >= power)

    shares = np.linspace(0, 1, 1001)
    first = bisect_left(shares, True, key=is_enough)
    return float(shares[first]) if first < len(shares) else float("nan")
