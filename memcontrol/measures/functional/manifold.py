"""Precision, recall, density and coverage: how two sets of features overlap.

References:
    Kynkaanniemi et al., "Improved precision and recall metric", NeurIPS 2019, https://arxiv.org/abs/1904.06991 (eq. 1).
    Naeem et al., "Reliable fidelity and diversity metrics", ICML 2020, https://arxiv.org/abs/2002.09797, eq. 3 and 4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Overlap", "overlap"]


class Overlap(NamedTuple):
    """Overlap of generated and real images; higher is better for all four."""

    precision: float
    """Share of generated images within the neighbourhood of a real one, in [0, 1]."""
    recall: float
    """Share of real images within the neighbourhood of a generated one, in [0, 1]."""
    density: float
    """How many real neighbourhoods hold a generated image, over k; about 1 for equal distributions."""
    coverage: float
    """Share of real images with a generated one within their neighbourhood, in [0, 1]."""


def _radii(x: Tensor, k: int) -> Tensor:
    distances = torch.cdist(x, x)
    return distances.kthvalue(min(k + 1, len(x)), dim=1).values


def overlap(generated: Tensor, real: Tensor, k: int = 5) -> Overlap:
    """Measure the overlap with neighbourhoods that reach to the k-th nearest image of the same set.

    Args:
        generated: Features with shape `(n, D)`.
        real: Features with shape `(m, D)`.
        k: Neighbours, at least 1 and fewer than images.

    Raises:
        ValueError: If there are too few images for k.
    """
    if not 1 <= k < min(len(generated), len(real)):
        raise ValueError(f"Argument `k` must be in [1, {min(len(generated), len(real)) - 1}], but got {k}.")
    g, r = generated.double(), real.double()
    across = torch.cdist(r, g)
    real_radii, generated_radii = _radii(r, k), _radii(g, k)
    inside = across < real_radii[:, None]
    return Overlap(
        precision=float(inside.any(dim=0).double().mean()),
        recall=float((across < generated_radii).any(dim=1).double().mean()),
        density=float(inside.double().sum(dim=0).mean() / k),
        coverage=float((across.min(dim=1).values < real_radii).double().mean()),
    )
