r"""The Frechet distance between two sets of features, without a matrix square root.

.. math:: d^2 = \|\mu_a - \mu_b\|^2 + \mathrm{tr}\,\Sigma_a + \mathrm{tr}\,\Sigma_b
    - 2\,\mathrm{tr}(\Sigma_a \Sigma_b)^{1/2}

With :math:`\Sigma_a = A^T A` and :math:`\Sigma_b = B^T B` the last trace is the sum of the singular values of
:math:`A B^T`, which is as small as the number of images or of features, whichever is less.

References:
    Heusel et al., "GANs trained by a two time-scale update rule", NeurIPS 2017, https://arxiv.org/abs/1706.08500
    (eq. 6).
    Bai et al., "On training sample memorization", KDD 2021, https://arxiv.org/abs/2106.03062, eq. 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from memcontrol.measures.functional.memorization import minimal_distances

__all__ = ["frechet_distance", "informed_distance", "mifid"]


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the Frechet distance of two Gaussians fitted to features; lower is better.

    With fewer images than features the covariances are rank-deficient and the distance is biased upwards: compare at
    equal n only.

    Args:
        a: Features with shape `(n, D)`, n >= 2.
        b: Features with shape `(k, D)`, k >= 2.

    Returns:
        A distance, at least 0 up to rounding.

    Raises:
        ValueError: If a set has fewer than two images.

    Example:
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> round(frechet_distance(x, x + 3), 6)
        9.0
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"Each set needs at least 2 images, but they have {len(a)} and {len(b)}.")
    mean_a, mean_b = a.double().mean(dim=0), b.double().mean(dim=0)
    factor_a, factor_b = _factor(a.double() - mean_a), _factor(b.double() - mean_b)
    trace = torch.linalg.svdvals(factor_a @ factor_b.T).sum()
    spread = factor_a.square().sum() + factor_b.square().sum()
    return float((mean_a - mean_b).square().sum() + spread - 2 * trace)


def _factor(centred: Tensor) -> Tensor:
    """Return F with F^T F equal to the covariance, with no more rows than needed."""
    factor: Tensor = centred / (len(centred) - 1) ** 0.5
    if len(factor) > factor.shape[1]:
        factor = torch.linalg.qr(factor, mode="r").R
    return factor


def mifid(generated: Tensor, heldout: Tensor, training: Tensor, threshold: float = 0.1) -> float:
    """Return the memorization-informed Frechet distance; lower is better.

    Args:
        generated: Features with shape `(n, D)`.
        heldout: Features with shape `(k, D)`.
        training: Features with shape `(m, D)`.
        threshold: Mean distances at or above it leave the Frechet distance as it is.

    Returns:
        The Frechet distance to held-out images, divided by the mean minimal cosine distance to training images where
        that lies under the threshold.
    """
    return informed_distance(generated, heldout, minimal_distances(generated, training), threshold)


def informed_distance(generated: Tensor, heldout: Tensor, distances: Tensor, threshold: float = 0.1) -> float:
    """Return MIFID from minimal distances that are known already, with shape `(n,)`; see `mifid`."""
    distance = float(distances.mean())
    return frechet_distance(generated, heldout) / (distance + 1e-15 if distance < threshold else 1.0)
