r"""Intervals whose unit is the patient, never the image.

Means and AUC: the cluster bootstrap draws patients with replacement. Two-sample statistics such as FID and KID
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
    "auc_draws",
    "from_draws",
    "halves_draws",
    "halves_interval",
    "mean_draws",
    "mean_interval",
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


def draw_weights(num_patients: int, num_draws: int, seed: int, stream: str) -> Floats:
    """Return how often each draw holds each patient, with shape `(num_draws, num_patients)`.

    Values that are drawn with one seed, stream and number of patients are paired: their difference has an interval.
    """
    rng = np.random.default_rng(derive_seed(seed, stream))
    return rng.multinomial(num_patients, np.full(num_patients, 1 / num_patients), size=num_draws).astype(float)


def mean_draws(values: ArrayLike, subjects: Sequence[str], num_draws: int = 2000, seed: int = 0) -> Floats:
    """Return bootstrap draws of a mean over images, with shape `(num_draws,)`.

    Args:
        values: One value per image, with shape `(n,)`.
        subjects: Patient of each image.
        num_draws: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        ValueError: If there are no values or their number is not that of the subjects.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0 or len(numbers) != len(subjects):
        raise ValueError(f"There must be one subject per value, but got {len(subjects)} and {len(numbers)}.")
    owner, num_patients = owners(subjects)
    weights = draw_weights(num_patients, num_draws, seed, "bootstrap")
    sums = weights @ np.bincount(owner, weights=numbers)
    drawn: Floats = sums / (weights @ np.bincount(owner))
    return drawn


def auc_draws(
    members: ArrayLike,
    others: ArrayLike,
    member_subjects: Sequence[str],
    other_subjects: Sequence[str],
    num_draws: int = 2000,
    seed: int = 0,
) -> tuple[float, Floats]:
    """Return an AUC and its bootstrap draws.

    Args:
        members: Scores of members, higher for more likely, with shape `(n,)`.
        others: Scores of non-members, with shape `(k,)`.
        member_subjects: Patient of each member.
        other_subjects: Patient of each non-member.
        num_draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        The probability that a member scores above a non-member (ties count half; 0.5 is chance), and the draws
        with shape `(num_draws,)`.
    """
    a, b = np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64)
    owner_a, num_a = owners(member_subjects)
    owner_b, num_b = owners(other_subjects)
    wins = np.zeros((num_a, num_b))
    for patient in range(num_a):
        scores = a[owner_a == patient][:, None]
        above = (scores > b).sum(axis=0) + 0.5 * (scores == b).sum(axis=0)
        wins[patient] = np.bincount(owner_b, weights=above, minlength=num_b)
    w_a = draw_weights(num_a, num_draws, seed, "bootstrap members")
    w_b = draw_weights(num_b, num_draws, seed, "bootstrap others")
    pairs = (w_a @ np.bincount(owner_a)) * (w_b @ np.bincount(owner_b))
    return float(wins.sum() / (len(a) * len(b))), ((w_a @ wins) * w_b).sum(axis=1) / pairs


def from_draws(value: float, draws: Floats, n: int, level: float = 0.95) -> Interval:
    """Return the percentile interval of bootstrap draws."""
    tail = 50 * (1 - level)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(float(value), float(low), float(high), n)


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

    Example:
        >>> mean_interval([1.0, 1.0, 3.0], ["a", "a", "b"]).value
        1.6666666666666667
    """
    draws = mean_draws(values, subjects, num_draws, seed)
    return from_draws(float(np.mean(np.asarray(values, dtype=np.float64))), draws, len(set(map(str, subjects))), level)


def halves_draws(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    subjects_a: Sequence[str],
    subjects_b: Sequence[str],
    num_draws: int = 100,
    seed: int = 0,
) -> tuple[float, Floats]:
    """Return a statistic of two samples, such as FID, and its jackknife draws over random halves of their patients.

    Draws of one seed and the same patients are paired: their difference has an interval.

    Args:
        statistic: Maps the rows that are kept of either sample to a number.
        subjects_a: Patient of each row of the first sample.
        subjects_b: Patient of each row of the second sample.
        num_draws: Number of random halves.
        seed: Seed of the halves.

    Returns:
        The statistic of all rows, and draws around it with the spread of its error, with shape `(num_draws,)`; none
        where a sample has fewer than four patients.
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

    halves = np.array([statistic(half(owner_a, num_a), half(owner_b, num_b)) for _ in range(num_draws)])
    return value, value + (halves - halves.mean()) * np.sqrt((n // 2) / (n - n // 2))


def halves_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    subjects_a: Sequence[str],
    subjects_b: Sequence[str],
    level: float = 0.95,
    num_draws: int = 100,
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
        num_draws: Number of random halves.
        seed: Seed of the halves.

    Returns:
        The statistic of all rows, with a normal interval; n is the smaller number of patients.
    """
    value, draws = halves_draws(statistic, subjects_a, subjects_b, num_draws, seed)
    n = min(len(set(subjects_a)), len(set(subjects_b)))
    if not len(draws):
        return Interval(value, float("nan"), float("nan"), n)
    reach = float(norm.ppf(0.5 + level / 2) * np.std(draws, ddof=1))
    return Interval(value, value - reach, value + reach, n)
