"""The extraction attack: many samples of one prompt that agree with each other give a training image away.

References:
    Carlini et al., "Extracting training data from diffusion models", USENIX Security 2023,
    https://arxiv.org/abs/2301.13188, sections 4.1 and 4.2.
"""

from __future__ import annotations

import networkx as nx
import torch
from torch import Tensor

__all__ = ["clique_members", "cliques", "tile_distances"]


def tile_distances(a: Tensor, b: Tensor, tiles: int = 4) -> Tensor:
    """Return the largest root-mean-square difference over tiles, pair by pair.

    Args:
        a: Images with shape `(n, C, H, W)`, values in [0, 1].
        b: Images with shape `(m, C, H, W)`, values in [0, 1].
        tiles: Tiles along each side; H and W must divide by it.

    Returns:
        Distances in [0, 1], with shape `(n, m)`; lower is more alike.

    Raises:
        ValueError: If height or width does not divide by `tiles`.
    """
    height, width = a.shape[-2:]
    if height % tiles or width % tiles:
        raise ValueError(f"Argument `tiles` must divide {height} and {width}, but got {tiles}.")
    size = (height // tiles, width // tiles)

    def cut(x: Tensor) -> Tensor:
        pieces = x.float().unfold(2, size[0], size[0]).unfold(3, size[1], size[1])
        return pieces.permute(2, 3, 0, 1, 4, 5).flatten(3).flatten(0, 1)

    pieces_a, pieces_b = cut(a), cut(b)
    largest = torch.zeros(len(a), len(b))
    for x, y in zip(pieces_a, pieces_b, strict=True):
        largest = torch.maximum(largest, torch.cdist(x, y) / x.shape[1] ** 0.5)
    return largest


def cliques(distances: Tensor, threshold: float, size: int = 3) -> list[list[int]]:
    """Return the maximal sets of samples that all match each other, largest first.

    Args:
        distances: Symmetric distances with shape `(n, n)`.
        threshold: Two samples match below it.
        size: Smallest set that counts.

    Returns:
        Sorted row numbers of each maximal clique with at least `size` members; chains and stars are none.

    Example:
        >>> cliques(torch.tensor([[0.0, 0.1, 0.1], [0.1, 0.0, 0.1], [0.1, 0.1, 0.0]]), 0.2)
        [[0, 1, 2]]
    """
    graph = nx.from_numpy_array((distances < threshold).fill_diagonal_(False).numpy())
    dense = nx.k_core(graph, size - 1)  # no clique of this size has a member outside
    found = [sorted(c) for c in nx.find_cliques(dense) if len(c) >= size]
    return sorted(found, key=lambda c: (-len(c), c))


def clique_members(samples: Tensor, threshold: float, size: int = 3, tiles: int = 4) -> list[int]:
    """Return the sorted rows of those samples of one prompt that lie in some clique; arguments as in `cliques`."""
    return sorted({i for c in cliques(tile_distances(samples, samples, tiles), threshold, size) for i in c})
