"""Intervals whose unit is the patient, never the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memcontrol.seeds import derive_seed

__all__ = ["Interval", "mean_interval"]


@dataclass(frozen=True)
class Interval:
    """A value with its interval.

    Args:
        value: Point estimate.
        low: Lower end.
        high: Upper end.
        n: Number of patients.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """Return `value [low, high]`."""
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def mean_interval(
    values: ArrayLike, subjects: Sequence[str], level: float = 0.95, num_draws: int = 2000, seed: int = 0
) -> Interval:
    """Estimate a mean over images by the cluster bootstrap over their patients.

    Args:
        values: One value per image, with shape `(n,)`; differences for a paired comparison.
        subjects: Patient of each image.
        level: Nominal coverage.
        num_draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        The mean with its percentile interval.

    Raises:
        ValueError: If there are no values or their number is not that of the subjects.

    References:
        Field and Welsh, "Bootstrapping clustered data", JRSS B 69 (2007), section 2.

    Example:
        >>> mean_interval([1.0, 1.0, 3.0], ["a", "a", "b"]).value
        1.6666666666666667
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0 or len(numbers) != len(subjects):
        raise ValueError(f"There must be one subject per value, but got {len(subjects)} and {len(numbers)}.")
    _, owner = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    counts = np.bincount(owner)
    sums = np.bincount(owner, weights=numbers)
    rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
    drawn = rng.integers(len(counts), size=(num_draws, len(counts)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = 50 * (1 - level)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(numbers.mean()), float(low), float(high), len(counts))
