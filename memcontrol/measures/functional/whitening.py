"""Features in the directions in which some images differ most, in units of their spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

__all__ = ["whitening"]

DIRECTIONS: Final = 32
PER_DIRECTION: Final = 4
"""Images that a direction needs, lest it be one of chance."""


def whitening(features: Tensor, directions: int = DIRECTIONS) -> Callable[[Tensor], Tensor]:
    """Return what maps features to whitened ones.

    Args:
        features: Features of the images whose directions are taken, with shape `(k, D)`.
        directions: Most directions; there are at most `k / 4`, and none in which these images do not differ.

    Returns:
        Maps shape `(n, D)` to `(n, d)`, in double precision; the images themselves get mean 0 and variance 1 in each
        direction.
    """
    exact = features.double()
    mean = exact.mean(dim=0)
    _, spread, axes = torch.linalg.svd(exact - mean, full_matrices=False)
    kept = min(directions, max(1, len(exact) // PER_DIRECTION), int((spread > 1e-6 * spread[0]).sum()) or 1)
    scale = len(exact) ** 0.5 / spread[:kept].clamp_min(1e-12)
    return lambda others: (others.double() - mean) @ axes[:kept].T * scale
