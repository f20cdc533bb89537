r"""Standard errors of statistics of two samples of features, such as FID and KID; patients are left out, never images.

Such statistics are biased under the bootstrap (a patient drawn twice is its own neighbour), so patients are left out of
either sample, one or a group at a time. Near equality of the samples, where the statistic is quadratic in the data, the
jackknife counts that part twice; it is estimated from what two patients do together, and taken off again once, but only
where it makes most of the whole: taken off everywhere, it would leave intervals that cover too little in between.

.. math:: \widehat{\mathrm{Var}} = \max(V_{jack} - w V_{pairs}, V_{pairs}), \quad
    w = \min(1, \max(0, (3.5 - V_{jack} / V_{pairs}) / 1.5)).

References:
    Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 9 (1981), sections 3 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from memcontrol.measures.statistics.intervals import Interval, owners
from memcontrol.seeds import derive_seed

__all__ = ["Deviations", "Statistic", "by_groups", "counted", "of_mean"]

Statistic = Callable[[np.ndarray, np.ndarray], float]
"""Maps the rows that are kept of either sample to a number."""
GROUPS: Final = 10


@dataclass(frozen=True)
class Deviations:
    """A statistic, and what becomes of it without some of the patients.

    Args:
        value: Of all patients.
        without: By how much it differs from their mean when one patient or group of the first sample is left out, with
            shape `(g,)`, and the same of the second sample.
        pairs: Part of the variance that is of pairs, which these count twice.
        n: Number of patients: of the smaller sample.
    """

    value: float
    without: tuple[np.ndarray, np.ndarray]
    pairs: float
    n: int

    @property
    def error(self) -> float:
        """Standard error; NaN with fewer than four patients."""
        if self.n < 4:
            return float("nan")
        found = counted(self.without)
        twice = float(np.clip((3.5 - found / self.pairs) / 1.5, 0, 1)) if self.pairs > 0 else 0.0
        return float(np.sqrt(max(found - twice * self.pairs, self.pairs)))

    @property
    def replicates(self) -> np.ndarray:
        """Replicates around the value: their standard deviation is the error, and those of two models pair."""
        if self.n < 4:
            return np.zeros(0)
        parts = [side * np.sqrt((len(side) - 1) / len(side)) for side in self.without if len(side) > 1]
        spread = np.concatenate(parts)
        scale = self.error / float(np.std(spread, ddof=1)) if np.any(spread) else 0.0
        found: np.ndarray = self.value + scale * spread
        return found

    def interval(self, low: float = -np.inf, high: float = np.inf) -> Interval:
        """Return the value with its 95 % interval, within the statistic's range."""
        freedom = max(1, min(self.n, sum(map(len, self.without))) - 1)
        reach = float(student.ppf(0.975, freedom)) * self.error
        return Interval(self.value, max(self.value - reach, low), min(self.value + reach, high), self.n)


def counted(without: Sequence[np.ndarray]) -> float:
    """Return the jackknife's variance, from deviations without one patient or group of each sample."""
    return sum((len(side) - 1) / len(side) * float((side**2).sum()) for side in without if len(side) > 1)


def of_mean(values: ArrayLike, subjects: Sequence[str]) -> Deviations:
    """Return a mean over images, and what becomes of it without each patient.

    Args:
        values: One value per image, with shape `(n,)`.
        subjects: Patient of each.
    """
    numbers = np.asarray(values, dtype=np.float64)
    owner, patients = owners(subjects)
    sums, counts = np.bincount(owner, weights=numbers), np.bincount(owner)
    left = (numbers.sum() - sums) / np.maximum(len(numbers) - counts, 1)
    return Deviations(float(numbers.mean()), (left - left.mean(), np.zeros(0)), 0.0, patients)


def by_groups(
    statistic: Statistic, subjects_a: Sequence[str], subjects_b: Sequence[str], seed: int = 0, pairs: bool = True
) -> Deviations:
    """Leave groups of patients out of either sample, and two of them together.

    Args:
        statistic: Maps the rows that are kept of either sample to a number.
        subjects_a: Patient of each row of the first sample.
        subjects_b: Patient of each row of the second sample.
        seed: Seed of the groups.
        pairs: Whether the part that pairs make is estimated; without, the error is too large near equality.
    """
    (owner_a, num_a), (owner_b, num_b) = owners(subjects_a), owners(subjects_b)
    n, rng = min(num_a, num_b), np.random.default_rng(derive_seed(seed, "groups"))
    value = statistic(np.arange(len(owner_a)), np.arange(len(owner_b)))
    if n < 4:
        return Deviations(value, (np.zeros(0), np.zeros(0)), 0.0, n)
    count = min(GROUPS, n)
    group_a, group_b = ((rng.permutation(num) % count)[owner] for owner, num in ((owner_a, num_a), (owner_b, num_b)))

    def without(out_a: tuple[int, ...], out_b: tuple[int, ...]) -> float:
        return statistic(*(np.flatnonzero(~np.isin(g, out)) for g, out in ((group_a, out_a), (group_b, out_b))))

    one_a = np.array([without((i,), ()) for i in range(count)])
    one_b = np.array([without((), (i,)) for i in range(count)])
    of_pairs = 0.0
    if pairs:
        for one, two in ((one_a, lambda i, j: without((i, j), ())), (one_b, lambda i, j: without((), (i, j)))):
            both = np.array(
                [
                    count * value - (count - 1) * (one[i] + one[j]) + (count - 2) * two(i, j)
                    for i, j in combinations(range(count), 2)
                ]
            )
            of_pairs += float(((both - both.mean()) ** 2).sum()) / count**2
        cross = np.array(
            [[value - a - b + without((i,), (j,)) for j, b in enumerate(one_b)] for i, a in enumerate(one_a)]
        )
        of_pairs += float(((cross - cross.mean()) ** 2).sum()) * (count - 1) ** 4 / count**4
    return Deviations(value, (one_a - one_a.mean(), one_b - one_b.mean()), of_pairs, n)
