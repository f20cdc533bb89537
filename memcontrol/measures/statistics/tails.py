"""How rare is a value beyond all that were seen? Ranks alone cannot tell one patient from chance, tails can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.stats import f

__all__ = ["beyond", "by_patient", "p_beyond"]

SHARE: Final = 0.2
"""Share of values that make the tail."""


def by_patient(values: np.ndarray, patients: Sequence[str], largest: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return patients in alphabetical order and the mean (or the largest) of each one's values."""
    names, where = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if largest:
        found = np.full(len(names), -np.inf)
        np.maximum.at(found, where, values)
        return names, found
    return names, np.bincount(where, weights=values) / np.bincount(where)


def p_beyond(values: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return the probability that a further value of the null is as large, also beyond the largest that was seen.

    Above the largest fifth, excesses are taken to be exponential (the peaks-over-threshold model with shape 0, which
    lighter tails such as the normal one's stay below) and their unknown mean is integrated out: the excess over its
    estimate follows an F distribution, so that few values give large p-values. The tail begins at a value of the null
    itself, so a further one lies above it with a probability of one rank more than the tail has.

    Args:
        values: Values with shape `(n,)`; higher is more suspicious.
        null: Values of the null, one per patient, with shape `(m,)`.

    Returns:
        P-values in (0, 1], with shape `(n,)`; NaN where a value is no number.

    References:
        Coles, "An introduction to statistical modeling of extreme values", Springer 2001 (chapter 4).
    """
    ordered = np.sort(np.asarray(null, dtype=np.float64))
    values = np.asarray(values, dtype=np.float64)
    ranks = (1 + len(ordered) - np.searchsorted(ordered, values, side="left")) / (len(ordered) + 1)
    number, start, mean = _tail(ordered)
    if mean <= 0:
        return np.asarray(ranks)
    excess = np.maximum(values - start, 0)
    rare = f.sf(excess / mean, 2, 2 * number) * (number + 1) / (len(ordered) + 1)
    return np.where(np.isnan(values), np.nan, np.where(values > start, rare, ranks))


def beyond(p: float, null: np.ndarray) -> float:
    """Return the value from which on `p_beyond` is at most p; infinite where no value is."""
    ordered = np.sort(np.asarray(null, dtype=np.float64))
    number, start, mean = _tail(ordered)
    if mean <= 0:
        return float("inf")
    return float(start + mean * f.isf(min(1.0, p * (len(ordered) + 1) / (number + 1)), 2, 2 * number))


def _tail(ordered: np.ndarray) -> tuple[int, float, float]:
    """Return how many values make the tail, where it begins, and the mean excess."""
    number = max(2, round(SHARE * len(ordered)))
    if len(ordered) <= number:
        return number, float("inf"), 0.0
    start = float(ordered[-number - 1])
    return number, start, float(ordered[-number:].mean() - start)
