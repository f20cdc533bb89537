"""Nearest neighbours among many features, in blocks, so that memory does not grow with their number."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["nearest", "own_distance"]


def nearest(queries: Tensor, reference: Tensor, block: int = 4096, skip_self: bool = False) -> tuple[Tensor, Tensor]:
    """Find the most similar row of a reference for each query.

    Args:
        queries: Features with shape `(n, D)`.
        reference: Features with shape `(m, D)`.
        block: Rows of the reference that are compared at once.
        skip_self: Whether query i must not find row i, for `queries` that are the reference itself.

    Returns:
        Cosine similarity in [-1, 1] (higher is nearer) and row number, both with shape `(n,)`; of equally near
        rows the first.

    Example:
        >>> nearest(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        (tensor([1.]), tensor([1]))
    """
    unit = normalize(queries.float(), dim=1)
    best = torch.full((len(unit),), -2.0)
    index = torch.zeros(len(unit), dtype=torch.long)
    for start in range(0, len(reference), block):
        similarity = unit @ normalize(reference[start : start + block].float(), dim=1).T
        if skip_self:
            rows = torch.arange(start, min(start + block, len(reference)))
            similarity[rows, rows - start] = -2.0
        values, found = similarity.max(dim=1)
        better = values > best
        best[better], index[better] = values[better], found[better] + start
    return best.clamp(max=1.0), index


def own_distance(reference: Tensor, rows: Tensor, block: int = 4096) -> Tensor:
    """Return the cosine distance of some rows to the nearest other row of the reference.

    Args:
        reference: Features with shape `(m, D)`.
        rows: Numbers of the rows in question, with shape `(n,)`.
        block: Rows of the reference that are compared at once.

    Returns:
        Distances in [0, 2], with shape `(n,)`; 2 where the reference holds no other row.
    """
    unit = normalize(reference[rows].float(), dim=1)
    best = torch.full((len(rows),), -1.0)
    for start in range(0, len(reference), block):
        similarity = unit @ normalize(reference[start : start + block].float(), dim=1).T
        mine = torch.nonzero((rows >= start) & (rows < start + block)).flatten()
        similarity[mine, rows[mine] - start] = -1.0
        best = torch.maximum(best, similarity.max(dim=1).values)
    return 1 - best.clamp(max=1.0)
