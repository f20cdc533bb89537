"""P-values by exchanging labels between patients, or the signs of their differences.

Exact for groups of any size, whatever the values' distribution, if patients of both groups are exchangeable: under the
null, nothing but the label tells a training patient from a held-out one. The unit is the patient, with all its images.

References:
    Phipson and Smyth, "Permutation p-values should never be zero", Statistical Applications in Genetics and Molecular
    Biology 9 (2010), section 4.
    Ernst, "Permutation methods: a basis for exact inference", Statistical Science 19 (2004), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu, norm, rankdata

from memcontrol.measures.statistics.intervals import owners
from memcontrol.seeds import derive_seed

__all__ = ["Pooled", "as_many_of_each", "exchangeable", "p_gap", "p_labels", "p_mean", "spread_of_labels"]

LABELINGS: Final = 9999
"""Random labelings of a p-value, whose smallest value is then 0.0001."""
MANY: Final = 2000
"""Patients from which an area counts as normal, with mean and spread from fewer labelings."""
FEWER: Final = 400
UNLIKE: Final = 0.01
"""P-value of a Mann-Whitney test under which patients of two groups do not have as many values each."""
AT_ONCE: Final = 2**22
"""Labels that are drawn at once."""

Labels = np.ndarray
"""Whether each patient counts as inside, with shape `(B, P)`."""


@dataclass(frozen=True)
class Pooled:
    """Values of two groups of patients as one, so that labels can be exchanged.

    Args:
        sums: Sum of each patient's values, with shape `(P,)`.
        ranks: Sum of the ranks of each patient's values among all, from 1, ties averaged, with shape `(P,)`.
        counts: Number of each patient's values, with shape `(P,)`.
        num_inside: Patients of the first group, which come first.
    """

    sums: np.ndarray
    ranks: np.ndarray
    counts: np.ndarray
    num_inside: int

    @classmethod
    def of(cls, inside: ArrayLike, outside: ArrayLike, inside_of: Sequence[str], outside_of: Sequence[str]) -> Pooled:
        """Pool values of images.

        Args:
            inside: Values of the first group, with shape `(n,)`.
            outside: Values of the second group, with shape `(k,)`.
            inside_of: Patient of each value of the first group.
            outside_of: Patient of each value of the second group.
        """
        a, b = np.asarray(inside, dtype=np.float64), np.asarray(outside, dtype=np.float64)
        (owner_a, num_a), (owner_b, num_b) = owners(inside_of), owners(outside_of)
        owner, values = np.concatenate([owner_a, num_a + owner_b]), np.concatenate([a, b])
        sums, ranks, counts = (
            np.bincount(owner, weights=weights, minlength=num_a + num_b)
            for weights in (values, rankdata(values), np.ones_like(values))
        )
        return cls(sums, ranks, counts, num_a)

    @property
    def labels(self) -> Labels:
        """The labels as they are, with shape `(1, P)`."""
        return (np.arange(len(self.counts)) < self.num_inside)[None]

    def auc(self, labels: Labels) -> np.ndarray:
        """Return the area under the ROC curve of each labeling, with shape `(B,)`."""
        inside = labels @ self.counts
        below = labels @ self.ranks - inside * (inside + 1) / 2
        area: np.ndarray = below / (inside * (self.counts.sum() - inside))
        return area

    def gap(self, labels: Labels) -> np.ndarray:
        """Return by how much the mean of the first group lies above the second's, with shape `(B,)`."""
        inside, total = labels @ self.counts, labels @ self.sums
        gap: np.ndarray = total / inside - (self.sums.sum() - total) / (self.counts.sum() - inside)
        return gap


def as_many_of_each(inside_of: Sequence[str], outside_of: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of either group that are the first ones of their patients, as many as every patient has."""
    sides = [pd.Series(np.asarray(names, dtype=str)) for names in (inside_of, outside_of)]
    enough = min(int(side.value_counts().min()) for side in sides)
    a, b = (side.groupby(side).head(enough).index.to_numpy(copy=True) for side in sides)
    return a, b


def exchangeable(inside_of: Sequence[str], outside_of: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of either group with which their patients can be exchanged.

    All, where patients of both groups have about as many: those whom a split was drawn from by chance. Where they have
    not (a hospital's own test split of one image each, images that were cut off), a mean of many values beside a mean
    of few would raise false alarms, and as many of each patient are compared.
    """
    counts = [pd.Series(np.asarray(names, dtype=str)).value_counts() for names in (inside_of, outside_of)]
    if mannwhitneyu(*counts).pvalue < UNLIKE:
        return as_many_of_each(inside_of, outside_of)
    return np.arange(len(inside_of)), np.arange(len(outside_of))


def p_labels(
    pooled: Pooled,
    statistic: Callable[[Labels], np.ndarray],
    seed: int,
    two_sided: bool = False,
    is_normal: bool = False,
) -> float:
    """Return the p-value of a statistic being as large as it is.

    Args:
        pooled: Both groups.
        statistic: Maps labels with shape `(B, P)` to numbers with shape `(B,)`.
        seed: Seed of the labelings.
        two_sided: Whether it may also lie as far below its mean under the null.
        is_normal: Whether it counts as normal with more than 2,000 patients, with mean and spread from fewer labelings:
            an area, and no count of what is rare.

    Returns:
        The p-value, at least 1 / 10,000 where it does not count as normal; NaN if the statistic is no number.
    """
    is_normal = is_normal and len(pooled.counts) > MANY
    observed = float(statistic(pooled.labels)[0])
    if not np.isfinite(observed):
        return float("nan")
    found = _of_labelings(pooled, statistic, seed, FEWER if is_normal else LABELINGS)
    if two_sided:
        middle = float(found.mean())
        observed, found = abs(observed - middle), np.abs(found - middle)
    if not is_normal:
        return float((1 + (found >= observed - 1e-12).sum()) / (1 + len(found)))
    middle = 0.0 if two_sided else float(found.mean())
    spread = float(np.sqrt(np.mean((found - middle) ** 2)))
    if spread == 0:  # values that are all the same
        return 1.0
    return float((1 + two_sided) * norm.sf((observed - middle) / spread))


def spread_of_labels(pooled: Pooled, statistic: Callable[[Labels], np.ndarray], seed: int) -> float:
    """Return the standard deviation of a statistic if labels told nothing."""
    return float(_of_labelings(pooled, statistic, seed, FEWER).std())


def p_gap(
    inside: ArrayLike, outside: ArrayLike, inside_of: Sequence[str], outside_of: Sequence[str], seed: int
) -> float:
    """Return the one-sided p-value of "the mean of the first group lies above that of the second".

    Each patient counts with as many of its values, from the first, as every patient has. Pictures are drawn in a number
    for each group, so that patients of the smaller group have more of them; with all their values, patients of both
    groups could not be exchanged, and rare values (one picture of twenty that hugs an image) raised false alarms.

    Args:
        inside: Values of the first group, with shape `(n,)`.
        outside: Values of the second group, with shape `(k,)`.
        inside_of: Patient of each value of the first group.
        outside_of: Patient of each value of the second group.
        seed: Seed of the labelings.

    Returns:
        The p-value; NaN if a mean is no number.
    """
    a, b = as_many_of_each(inside_of, outside_of)
    pooled = Pooled.of(
        np.asarray(inside)[a], np.asarray(outside)[b], [inside_of[row] for row in a], [outside_of[row] for row in b]
    )
    return p_labels(pooled, pooled.gap, seed)


def p_mean(values: ArrayLike, subjects: Sequence[str], seed: int) -> float:
    """Return the one-sided p-value of "the mean is above 0", for paired differences, by their patients' signs.

    Args:
        values: Differences, with shape `(n,)`.
        subjects: Patient of each.
        seed: Seed of the signs.

    Returns:
        The p-value; NaN if a difference is no number.
    """
    owner, num_patients = owners(subjects)
    sums = np.bincount(owner, weights=np.asarray(values, dtype=np.float64), minlength=num_patients)
    if not np.isfinite(sums).all():
        return float("nan")
    rng, above = np.random.default_rng(derive_seed(seed, "signs")), 0
    for count in _parts(LABELINGS, num_patients):
        signs = 2.0 * rng.integers(0, 2, size=(count, num_patients)) - 1
        above += int((signs @ sums >= sums.sum() - 1e-12).sum())
    return (1 + above) / (1 + LABELINGS)


def _of_labelings(pooled: Pooled, statistic: Callable[[Labels], np.ndarray], seed: int, count: int) -> np.ndarray:
    patients = len(pooled.counts)
    rng = np.random.default_rng(derive_seed(seed, "labels"))
    found = []
    for part in _parts(count, patients):
        order = rng.permuted(np.tile(np.arange(patients), (part, 1)), axis=1)
        found.append(statistic(order < pooled.num_inside))
    return np.concatenate(found)


def _parts(count: int, width: int) -> Iterator[int]:
    size = max(1, AT_ONCE // width)
    for start in range(0, count, size):
        yield min(size, count - start)
