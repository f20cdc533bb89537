r"""The kernel distance (KID): an unbiased estimate of the squared maximum mean discrepancy.

.. math:: \frac{\sum_{i \neq j} k(a_i, a_j)}{n (n - 1)} + \frac{\sum_{i \neq j} k(b_i, b_j)}{m (m - 1)}
    - \frac{2 \sum_{i, j} k(a_i, b_j)}{n m}, \qquad k(x, y) = (x^T y / D + 1)^3

References:
    Binkowski et al., "Demystifying MMD GANs", ICLR 2018, https://arxiv.org/abs/1801.01401, section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

__all__ = ["kernel_distance", "kernel_statistic"]


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
