"""What of a picture stands out from its surroundings: what changes of tone leave as it is."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

__all__ = ["blurred", "relief"]

FLAT: Final = 0.02
"""Contrast, of a range of 1, below which a place counts as flat."""
BURNT: Final = 8 / 255
"""Distance from black and white within which a pixel shows nothing: a border, a burnt-in mark."""


def relief(images: Tensor, inner: float, outer: float) -> Tensor:
    """Return the difference of two blurs over the local contrast, without pixels that are black or white.

    Args:
        images: Grey images with shape `(n, 1, H, W)`, values in [0, 1].
        inner: Standard deviation of the narrow blur, in pixels.
        outer: Standard deviation of the wide blur and of the contrast's surroundings, in pixels.

    Returns:
        Reliefs of the same shape, of about unit variance; 0 where nothing is to be seen.

    References:
        Jarrett et al., "What is the best multi-stage architecture for object recognition?", ICCV 2009 (section 2.1:
        local contrast normalization).
    """
    seen = ((images > BURNT) & (images < 1 - BURNT)).float()
    raised = (_mean(images, seen, inner) - _mean(images, seen, outer)) * seen
    return raised / (_mean(raised.square(), seen, outer) + FLAT**2).sqrt()


def blurred(images: Tensor, deviation: float) -> Tensor:
    """Blur images with shape `(n, 1, H, W)` by a Gaussian; the border is continued."""
    reach = round(3 * deviation)
    x = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-x.square() / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    rows = conv2d(pad(images, (reach, reach, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return conv2d(pad(rows, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1))


def _mean(images: Tensor, seen: Tensor, deviation: float) -> Tensor:
    """Return the mean of the pixels around that are seen."""
    return blurred(images * seen, deviation) / blurred(seen, deviation).clamp_min(1e-3)
