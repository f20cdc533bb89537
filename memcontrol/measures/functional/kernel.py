r"""The kernel distance (KID): an unbiased estimate of the squared maximum mean discrepancy.

.. math:: \frac{\sum_{i \neq j} k(a_i, a_j)}{n (n - 1)} + \frac{\sum_{i \neq j} k(b_i, b_j)}{m (m - 1)}
    - \frac{2 \sum_{i, j} k(a_i, b_j)}{n m}, \qquad k(x, y) = (x^T y / D + 1)^3

References:
    Binkowski et al., "Demystifying MMD GANs", ICLR 2018, https://arxiv.org/abs/1801.01401, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor

from memcontrol.measures.statistics.intervals import owners
from memcontrol.measures.statistics.jackknife import Deviations

__all__ = ["kernel_deviations", "kernel_distance", "kernel_statistic"]


def _kernel_sum(a: Tensor, b: Tensor, block: int) -> tuple[float, float]:
    """Return the sum of the kernel over all pairs, and over pairs of equal row numbers."""
    total, diagonal = 0.0, 0.0
    for start in range(0, len(a), block):
        k = (a[start : start + block] @ b.T / a.shape[1] + 1) ** 3
        total += float(k.sum())
        diagonal += float(k.diagonal(start).sum()) if start < len(b) else 0.0
    return total, diagonal


def kernel_distance(a: Tensor, b: Tensor, block: int = 512) -> float:
    """Return the squared kernel distance over all images, not over random subsets; lower is better, 0 is the null.

    Args:
        a: Features with shape `(n, D)`, n >= 2.
        b: Features with shape `(m, D)`, m >= 2.
        block: Rows compared at once.

    Returns:
        An unbiased estimate, which may be a little below 0.

    Raises:
        ValueError: If a set has fewer than two images.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"Each set needs at least 2 images, but they have {len(a)} and {len(b)}.")
    a, b = a.double(), b.double()
    n, m = len(a), len(b)
    (within_a, own_a), (within_b, own_b) = _kernel_sum(a, a, block), _kernel_sum(b, b, block)
    across, _ = _kernel_sum(a, b, block)
    return (within_a - own_a) / (n * (n - 1)) + (within_b - own_b) / (m * (m - 1)) - 2 * across / (n * m)


def kernel_statistic(a: Tensor, b: Tensor) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the distance as a function of the rows that are kept, with all kernel values computed once."""
    a, b = a.double(), b.double()
    grams = [((x @ y.T / a.shape[1] + 1) ** 3).numpy() for x, y in ((a, a), (b, b), (a, b))]

    def statistic(rows_a: np.ndarray, rows_b: np.ndarray) -> float:
        n, m = len(rows_a), len(rows_b)
        k_aa, k_bb, k_ab = grams[0][np.ix_(rows_a, rows_a)], grams[1][np.ix_(rows_b, rows_b)], grams[2]
        within = (k_aa.sum() - np.trace(k_aa)) / (n * (n - 1)) + (k_bb.sum() - np.trace(k_bb)) / (m * (m - 1))
        return float(within - 2 * k_ab[np.ix_(rows_a, rows_b)].mean())

    return statistic


def kernel_deviations(a: Tensor, b: Tensor, subjects_a: Sequence[str], subjects_b: Sequence[str]) -> Deviations:
    """Return the distance, what becomes of it without each patient, and the part of its variance that is of pairs.

    Args:
        a: Features with shape `(n, D)`, n >= 2.
        b: Features with shape `(m, D)`, m >= 2.
        subjects_a: Patient of each row of `a`.
        subjects_b: Patient of each row of `b`.

    References:
        Sutherland et al., "Generative models and model criticism via optimized maximum mean discrepancy", ICLR 2017,
        https://arxiv.org/abs/1611.04488 (appendix A).
    """
    a, b = a.double(), b.double()
    (of_a, count_a), (of_b, count_b) = _members(subjects_a), _members(subjects_b)
    n, m = len(a), len(b)
    within_a, within_b = _within(of_a, a), _within(of_b, b)
    across = of_a @ _gram(a, b) @ of_b.T
    means = [within_a.sum() / (n * (n - 1)), within_b.sum() / (m * (m - 1)), across.sum() / (n * m)]
    value = float(means[0] + means[1] - 2 * means[2])
    if min(len(count_a), len(count_b)) < 4:
        return Deviations(value, (np.zeros(0), np.zeros(0)), 0.0, min(len(count_a), len(count_b)))
    one_a = _without(within_a, count_a) + means[1] - 2 * _rest(across.sum(axis=1), count_a, n, m)
    one_b = _without(within_b, count_b) + means[0] - 2 * _rest(across.sum(axis=0), count_b, m, n)
    pairs = 2 * _centred_squares(within_a, count_a, count_a, n - 1, means[0], same=True) / (n * (n - 1)) ** 2
    pairs += 2 * _centred_squares(within_b, count_b, count_b, m - 1, means[1], same=True) / (m * (m - 1)) ** 2
    pairs += 4 * _centred_squares(across, count_a, count_b, m, means[2], same=False) / (n * m) ** 2
    sides = (one_a - one_a.mean(), one_b - one_b.mean())
    return Deviations(value, sides, pairs, min(len(count_a), len(count_b)))


def _gram(a: Tensor, b: Tensor) -> np.ndarray:
    found: np.ndarray = ((a @ b.T / a.shape[1] + 1) ** 3).numpy()
    return found


def _members(subjects: Sequence[str]) -> tuple[csr_array, np.ndarray]:
    """Return which rows belong to each patient, with shape `(P, n)`, and how many do."""
    owner, patients = owners(subjects)
    ones = np.ones(len(owner))
    return csr_array((ones, (owner, np.arange(len(owner)))), shape=(patients, len(owner))), np.bincount(owner)


def _within(of: csr_array, features: Tensor) -> np.ndarray:
    """Return the sums of the kernel over pairs of patients, with shape `(P, P)`, without pairs of a row with itself."""
    gram = _gram(features, features)
    np.fill_diagonal(gram, 0.0)
    found: np.ndarray = of @ gram @ of.T
    return found


def _without(within: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean over pairs of one sample without each patient."""
    left = counts.sum() - counts
    found: np.ndarray = (within.sum() - 2 * within.sum(axis=1) + np.diag(within)) / (left * (left - 1))
    return found


def _rest(sums: np.ndarray, counts: np.ndarray, own: int, others: int) -> np.ndarray:
    """Return the mean over pairs across both samples without each patient of one."""
    found: np.ndarray = (sums.sum() - sums) / ((own - counts) * others)
    return found


def _centred_squares(
    sums: np.ndarray, rows: np.ndarray, columns: np.ndarray, per_row: int, mean: float, same: bool
) -> float:
    """Return the sum of squares over pairs of patients of what neither of the two explains alone."""
    per_column = per_row if same else int(rows.sum())
    of_rows, of_columns = sums.sum(axis=1) / per_row, sums.sum(axis=0) / per_column
    centred = sums - np.outer(of_rows, columns) - np.outer(rows, of_columns) + mean * np.outer(rows, columns)
    if same:
        np.fill_diagonal(centred, 0.0)
    return float((centred**2).sum())
