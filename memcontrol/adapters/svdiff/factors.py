r"""Singular value decomposition of a weight, in the form SVDiff needs.

A weight becomes a matrix :math:`W = U \,\mathrm{diag}(S)\, V^\top`; a convolution is reshaped to
`(out, in * kh * kw)`, a norm's weight to one row (one singular value, its length).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["factorize", "num_singular_values"]


def num_singular_values(weight: Tensor) -> int:
    """Return the number of singular values of a weight of any shape."""
    matrix = as_matrix(weight)
    return min(matrix.shape)


def as_matrix(weight: Tensor) -> Tensor:
    """Return a weight as a matrix: a vector as one row, a kernel as `(out, rest)`."""
    return weight[None] if weight.ndim == 1 else weight.flatten(1)


@torch.no_grad()
def factorize(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Decompose a weight.

    Args:
        weight: Vector, matrix or convolution kernel.

    Returns:
        `u` with shape `(rows, r)`, `s` with shape `(r,)` in descending order and `vh` with shape
        `(r, columns)`, in the dtype of the weight; r is the smaller side.
    """
    matrix = as_matrix(weight)
    if matrix.device.type == "meta":
        r = min(matrix.shape)
        return matrix.new_empty(len(matrix), r), matrix.new_empty(r), matrix.new_empty(r, matrix.shape[1])
    wide = matrix.double()
    if matrix.shape[1] >= 2 * matrix.shape[0]:
        u, s, vh = _by_gram(wide)
    else:
        u, s, vh = torch.linalg.svd(wide, full_matrices=False)
    dtype = weight.dtype
    return u.to(dtype).contiguous(), s.to(dtype), vh.to(dtype).contiguous()


def _by_gram(wide: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Decompose a wide matrix through its small Gram matrix, unless it is nearly rank-deficient."""
    values, u = torch.linalg.eigh(wide @ wide.T)
    s = values.flip(0).clamp_min(0).sqrt()
    u = u.flip(1)
    if s[-1] <= 1e-6 * s[0]:
        u, s, vh = torch.linalg.svd(wide, full_matrices=False)
        return u, s, vh
    return u, s, (u.T @ wide) / s[:, None]
