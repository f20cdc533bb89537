r"""Intervals whose unit is the patient, never the image.

Means and AUC: the cluster bootstrap replicates patients with replacement. Two-sample statistics such as FID and KID
are biased under the bootstrap (a patient drawn twice is its own neighbour), so theirs come from random halves of the
patients, drawn without replacement. With m of n patients kept, the delete-d jackknife scales the spread of the
statistic over subsets by

.. math:: \mathrm{Var}(\theta_n) \approx \frac{m}{n - m} \mathrm{Var}_{subsets}(\theta_m).

References:
    Field and Welsh, "Bootstrapping clustered data", JRSS B 69 (2007), section 2.
    Shao and Wu, "A general theory for jackknife variance estimation", Annals of Statistics 17 (1989), eq. 2.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from memcontrol.seeds import derive_seed

__all__ = [
    "Z95",
    "Interval",
    "auc_replicates",
    "jackknife_interval",
    "jackknife_replicates",
    "mean_interval",
    "mean_replicates",
    "percentile_interval",
]

Z95: Final = float(norm.ppf(0.975))
"""Half the width of a 95 % interval of a normal distribution, in standard deviations."""

Floats = np.ndarray


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


def owners(subjects: Sequence[str]) -> tuple[np.ndarray, int]:
    """Number the patients: the patient of each image, and how many there are."""
    names, owner = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    return owner, len(names)


def bootstrap_weights(num_patients: int, num_replicates: int, seed: int, stream: str) -> Floats:
    """Return how often each replicate holds each patient, with shape `(num_replicates, num_patients)`.

    Values that are drawn with one seed, stream and number of patients are paired: their difference has an interval.
    """
    rng = np.random.default_rng(derive_seed(seed, stream))
    return rng.multinomial(num_patients, np.full(num_patients, 1 / num_patients), size=num_replicates).astype(float)


def mean_replicates(values: ArrayLike, subjects: Sequence[str], num_replicates: int = 2000, seed: int = 0) -> Floats:
    """Return bootstrap replicates of a mean over images, with shape `(num_replicates,)`.

    Args:
        values: One value per image, with shape `(n,)`.
        subjects: Patient of each image.
        num_replicates: Bootstrap replicates.
        seed: Seed of the replicates.

    Raises:
        ValueError: If there are no values or their number is not that of the subjects.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0 or len(numbers) != len(subjects):
        raise ValueError(f"There must be one subject per value, but got {len(subjects)} and {len(numbers)}.")
    owner, num_patients = owners(subjects)
    weights = bootstrap_weights(num_patients, num_replicates, seed, "bootstrap")
    sums = weights @ np.bincount(owner, weights=numbers)
    means: Floats = sums / (weights @ np.bincount(owner))
    return means


def auc_replicates(
    members: ArrayLike,
    others: ArrayLike,
    member_subjects: Sequence[str],
    other_subjects: Sequence[str],
    num_replicates: int = 2000,
    seed: int = 0,
) -> tuple[float, Floats]:
    """Return an AUC and its bootstrap replicates.

    Args:
        members: Scores of members, higher for more likely, with shape `(n,)`.
        others: Scores of non-members, with shape `(k,)`.
        member_subjects: Patient of each member.
        other_subjects: Patient of each non-member.
        num_replicates: Bootstrap replicates.
        seed: Seed of the replicates.

    Returns:
        The probability that a member scores above a non-member (ties count half; 0.5 is chance), and the replicates
        with shape `(num_replicates,)`.
    """
    a, b = np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64)
    owner_a, num_a = owners(member_subjects)
    owner_b, num_b = owners(other_subjects)
    wins = np.zeros((num_a, num_b))
    for patient in range(num_a):
        scores = a[owner_a == patient][:, None]
        above = (scores > b).sum(axis=0) + 0.5 * (scores == b).sum(axis=0)
        wins[patient] = np.bincount(owner_b, weights=above, minlength=num_b)
    w_a = bootstrap_weights(num_a, num_replicates, seed, "bootstrap members")
    w_b = bootstrap_weights(num_b, num_replicates, seed, "bootstrap others")
    pairs = (w_a @ np.bincount(owner_a)) * (w_b @ np.bincount(owner_b))
    return float(wins.sum() / (len(a) * len(b))), ((w_a @ wins) * w_b).sum(axis=1) / pairs


def percentile_interval(value: float, replicates: Floats, n: int, level: float = 0.95) -> Interval:
    """Return the percentile interval of bootstrap replicates."""
    tail = 50 * (1 - level)
    low, high = np.percentile(replicates, [tail, 100 - tail])
    return Interval(float(value), float(low), float(high), n)


def mean_interval(
    values: ArrayLike, subjects: Sequence[str], level: float = 0.95, num_replicates: int = 2000, seed: int = 0
) -> Interval:
    """Estimate a mean over images by the cluster bootstrap over their patients.

    Args:
        values: One value per image, with shape `(n,)`; differences for a paired comparison.
        subjects: Patient of each image.
        level: Nominal coverage.
        num_replicates: Bootstrap replicates.
        seed: Seed of the replicates.

    Returns:
        The mean with its percentile interval.

    Raises:
        ValueError: If there are no values or their number is not that of the subjects.

    Example:
        >>> mean_interval([1.0, 1.0, 3.0], ["a", "a", "b"]).value
        1.6666666666666667
    """
    replicates = mean_replicates(values, subjects, num_replicates, seed)
    return percentile_interval(
        float(np.mean(np.asarray(values, dtype=np.float64))), replicates, len(set(map(str, subjects))), level
    )


def jackknife_replicates(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    subjects_a: Sequence[str],
    subjects_b: Sequence[str],
    num_replicates: int = 100,
    seed: int = 0,
) -> tuple[float, Floats]:
    """Return a statistic of two samples, such as FID, and jackknife replicates over random halves of their patients.

    Replicates of one seed and the same patients are paired: their difference has an interval.

    Args:
        statistic: Maps the rows that are kept of either sample to a number.
        subjects_a: Patient of each row of the first sample.
        subjects_b: Patient of each row of the second sample.
        num_replicates: Number of random halves.
        seed: Seed of the halves.

    Returns:
        The statistic of all rows, and replicates around it with the spread of its error, with shape
        `(num_replicates,)`; none where a sample has fewer than four patients.
    """
    owner_a, num_a = owners(subjects_a)
    owner_b, num_b = owners(subjects_b)
    value = statistic(np.arange(len(owner_a)), np.arange(len(owner_b)))
    n = min(num_a, num_b)
    if n < 4:
        return value, np.zeros(0)
    rng = np.random.default_rng(derive_seed(seed, "halves"))

    def half(owner: np.ndarray, count: int) -> np.ndarray:
        return np.flatnonzero(np.isin(owner, rng.permutation(count)[: count // 2]))

    halves = np.array([statistic(half(owner_a, num_a), half(owner_b, num_b)) for _ in range(num_replicates)])
    return value, value + (halves - halves.mean()) * np.sqrt((n // 2) / (n - n // 2))


def jackknife_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    subjects_a: Sequence[str],
    subjects_b: Sequence[str],
    level: float = 0.95,
    num_replicates: int = 100,
    seed: int = 0,
) -> Interval:
    """Estimate a statistic of two samples, such as FID, by random halves of their patients.

    The interval is that of the statistic's expectation at this n: what is biased by n stays so, hence figures
    compare at equal n only.

    Args:
        statistic: Maps the rows that are kept of either sample to a number.
        subjects_a: Patient of each row of the first sample.
        subjects_b: Patient of each row of the second sample.
        level: Nominal coverage.
        num_replicates: Number of random halves.
        seed: Seed of the halves.

    Returns:
        The statistic of all rows, with a normal interval; n is the smaller number of patients.
    """
    value, replicates = jackknife_replicates(statistic, subjects_a, subjects_b, num_replicates, seed)
    n = min(len(set(subjects_a)), len(set(subjects_b)))
    if not len(replicates):
        return Interval(value, float("nan"), float("nan"), n)
    reach = float(norm.ppf(0.5 + level / 2) * np.std(replicates, ddof=1))
    return Interval(value, value - reach, value + reach, n)
