"""Groups of images that are copies of each other."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from memcontrol.measures.copies.finder import CopyFinder

__all__ = ["ALIKE", "groups_of_copies"]

ALIKE: Final = 0.98
"""Agreement of details from which on two images count as copies: of X-rays of different patients, 99 % of the nearest
pairs agree to less than 0.96."""
AT_ONCE: Final = 256
"""Images that are compared with all others together."""


def groups_of_copies(features: torch.Tensor, agreement: float) -> np.ndarray:
    """Return which images are copies of each other: the number of each one's group, with shape `(n,)`.

    Args:
        features: Features by `CopyEncoder`, with shape `(n, D)`.
        agreement: Agreement from which on two images count as copies.
    """
    count = len(features)
    finder, pairs = CopyFinder(features), []
    for start in tqdm(range(0, count if count > 1 else 0, AT_ONCE), desc="looking for copies", unit="batch", delay=5):
        rows = torch.arange(start, min(start + AT_ONCE, count))
        match = finder.match(features[rows], rows[:, None] != torch.arange(count))
        alike = match.similarity >= agreement
        pairs.append(torch.stack([rows[alike], match.row[alike]]))
    edges = torch.cat(pairs, dim=1).numpy() if pairs else np.zeros((2, 0), dtype=int)
    graph = coo_matrix((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=(count, count))
    groups: np.ndarray = connected_components(graph, directed=False)[1]
    return groups
