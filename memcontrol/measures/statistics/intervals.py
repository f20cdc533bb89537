"""Intervals whose unit is the patient, never the image.

References:
    Field and Welsh, "Bootstrapping clustered data", JRSS B 69 (2007), section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm
from scipy.stats import t as student

from memcontrol.seeds import derive_seed

__all__ = [
    "Z95",
    "Interval",
    "clustered_mean",
    "mean_interval",
]

Z95: Final = float(norm.ppf(0.975))
"""Half the width of a 95 % interval of a normal distribution, in standard deviations."""

MANY: Final = 1000
"""Patients from which a mean counts as normal."""

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


def clustered_mean(values: ArrayLike, subjects: Sequence[str]) -> tuple[float, float, int]:
    """Return a mean over images, its standard error over patients (NaN for one), and the number of patients.

    Raises:
        ValueError: If there are no values or their number is not that of the subjects.
    """
    sums, counts = _of_patients(values, subjects)
    mean, patients = float(sums.sum() / counts.sum()), len(sums)
    return mean, _error(sums - mean * counts, counts.sum()), patients


def mean_interval(
    values: ArrayLike, subjects: Sequence[str], level: float = 0.95, num_replicates: int = 2000, seed: int = 0
) -> Interval:
    """Estimate a mean over images by the studentized bootstrap over their patients.

    Means of patients may be skewed, and patients have unequal numbers of images: replicates of the mean in units of
    their own standard error cover what percentiles of the mean do not. Its reach is that of Student's t for the number
    of patients. With 1,000 patients or more it is Student's interval.

    Args:
        values: One value per image, with shape `(n,)`; differences for a paired comparison.
        subjects: Patient of each image.
        level: Nominal coverage.
        num_replicates: Bootstrap replicates.
        seed: Seed of the replicates.

    Returns:
        The mean with its interval; the ends are NaN with fewer than three patients. Values that are all the same give
        one of width 0.

    Raises:
        ValueError: If there are no values or their number is not that of the subjects.

    References:
        Davison and Hinkley, "Bootstrap methods and their application", 1997, section 5.2.

    Example:
        >>> mean_interval([1.0, 1.0, 3.0], ["a", "a", "b"]).value
        1.6666666666666667
    """
    sums, counts = _of_patients(values, subjects)
    mean, error, patients = clustered_mean(values, subjects)
    if patients < 3:
        return Interval(mean, float("nan"), float("nan"), patients)
    far = float(student.ppf(0.5 + level / 2, patients - 1))
    if patients >= MANY or error == 0:
        return Interval(mean, mean - far * error, mean + far * error, patients)
    weights = bootstrap_weights(patients, num_replicates, seed, "bootstrap")
    total = weights @ counts
    means = (weights @ sums) / total
    squares = weights @ sums**2 - 2 * means * (weights @ (sums * counts)) + means**2 * (weights @ counts**2)
    errors = np.sqrt(np.maximum(squares, 0) * patients / (patients - 1)) / total
    varied = errors > 1e-9 * error
    scaled = (means[varied] - mean) / errors[varied] * far / float(norm.ppf(0.5 + level / 2))
    low, high = np.percentile(scaled, [50 * (1 - level), 50 * (1 + level)])
    return Interval(mean, mean - max(high, 0.0) * error, mean - min(low, 0.0) * error, patients)


def _of_patients(values: ArrayLike, subjects: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the sum of each patient's values, and their number."""
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0 or len(numbers) != len(subjects):
        raise ValueError(f"There must be one subject per value, but got {len(subjects)} and {len(numbers)}.")
    owner, patients = owners(subjects)
    return np.bincount(owner, weights=numbers, minlength=patients), np.bincount(owner, minlength=patients).astype(float)


def _error(residuals: Floats, images: float) -> float:
    patients = len(residuals)
    if patients < 2:
        return float("nan")
    spread = float((residuals**2).sum())
    scale = 1e-24 * (1 + float(np.abs(residuals).max())) ** 2
    return float(np.sqrt(patients / (patients - 1) * spread) / images) if spread > scale else 0.0
