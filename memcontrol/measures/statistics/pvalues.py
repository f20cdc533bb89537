"""The exact p-value of how many patients exceed a threshold that other patients set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import nhypergeom
from torch import Tensor

__all__ = ["p_exceed", "rank_of"]


def p_exceed(
    values: Tensor, subjects: Sequence[str], calibration: Tensor, calibration_subjects: Sequence[str], rank: int
) -> float:
    """Return the exact p-value of how many patients exceed the rank-th largest of the calibration patients.

    A patient counts with the first of its values: one with more pictures has no more chances. If both groups were
    exchangeable, the number of patients above the threshold would follow the negative hypergeometric distribution,
    whatever the values' own distribution.

    Args:
        values: Values of the patients in question, with shape `(n,)`.
        subjects: Their patients.
        calibration: Values of the calibration patients, with shape `(k,)`.
        calibration_subjects: Their patients.
        rank: Which of the largest calibration values is the threshold, from 1.

    Returns:
        The p-value; NaN if a value is no number.
    """
    tested, reference = _first(values, subjects), _first(calibration, calibration_subjects)
    if np.isnan(tested).any() or np.isnan(reference).any():
        return float("nan")
    threshold = np.sort(reference)[-rank]
    above = int((tested > threshold).sum())
    return float(nhypergeom.sf(above - 1, len(tested) + len(reference), len(tested), rank))


def rank_of(alpha: float, num_patients: int) -> int:
    """Return which of the largest values of calibration patients a share alpha of them exceeds, from 1."""
    return max(1, int(alpha * num_patients))


def _first(values: Tensor, subjects: Sequence[str]) -> np.ndarray:
    _, rows = np.unique(np.asarray(subjects, dtype=str), return_index=True)
    first: np.ndarray = values.numpy().astype(float)[rows]
    return first
