"""How well a picture in the frame of a training image agrees with it."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

__all__ = ["correlation", "local_agreement"]

TILES: Final = 4
"""Tiles along each side."""
BEST: Final = 6
"""Tiles that count: those that agree best. Less than half, so that half a copy is a copy."""
COVERED: Final = 0.6
"""Share of a tile that a picture must reach."""
CONTRAST: Final = 0.003
"""Product of two tiles' deviations at which an agreement counts half: two flat tiles agree in nothing."""


def correlation(ours: Tensor, inside: Tensor, theirs: Tensor, floor: float = 1e-6) -> Tensor:
    """Return the correlation over those places that a picture reaches.

    Args:
        ours: Pictures in the frame, with shape `(..., P)`.
        inside: Where they reach (0 or 1), with the same shape.
        theirs: Training images, with the same shape.
        floor: Added to the product of both deviations, times the number of places.

    Returns:
        Correlations in [-1, 1], with shape `(...)`.
    """
    count = inside.sum(dim=-1, keepdim=True).clamp_min(1)
    ours = (ours - (ours * inside).sum(dim=-1, keepdim=True) / count) * inside
    theirs = (theirs - (theirs * inside).sum(dim=-1, keepdim=True) / count) * inside
    deviations: Tensor = ours.norm(dim=-1) * theirs.norm(dim=-1)
    return (ours * theirs).sum(dim=-1) / (deviations + floor * inside.shape[-1])


def local_agreement(ours: Tensor, inside: Tensor, theirs: Tensor) -> Tensor:
    """Return the mean correlation of the tiles that agree best, of positive or of negative ones (inverted copies).

    Args:
        ours: Pictures in the frame, with shape `(n, S * S)`.
        inside: Where they reach (0 or 1), with the same shape.
        theirs: Training images, with the same shape; neither counts where either is 0 (see `relief`).

    Returns:
        Agreement in [-1, 1], with shape `(n,)`; higher is more alike.
    """
    tiles = _tiles(inside * (ours != 0) * (theirs != 0))
    found = correlation(_tiles(ours), tiles, _tiles(theirs), floor=CONTRAST)
    ranked = torch.where(tiles.mean(dim=-1) >= COVERED, found, 0.0).sort(dim=-1).values
    return torch.maximum(ranked[:, -BEST:].mean(dim=-1), -ranked[:, :BEST].mean(dim=-1))


def _tiles(flat: Tensor) -> Tensor:
    size = round(flat.shape[-1] ** 0.5)
    side = size // TILES
    return flat.view(-1, TILES, side, TILES, side).transpose(2, 3).reshape(len(flat), TILES * TILES, -1)
