"""An image as copies are looked for: its details, its outline, and the whole of it."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from memcontrol.measures.copies.relief import blurred, relief
from memcontrol.measures.encoders import Encoder

__all__ = ["CopyEncoder", "Views", "views_of"]

DETAILS: Final = 32
OUTLINE: Final = 20
WHOLE: Final = 16
"""Height and width of each view."""


class Views(NamedTuple):
    """Four views of images.

    Args:
        details: Reliefs that two images are compared by, with shape `(n, 1, 32, 32)`.
        outline: Coarse reliefs that candidates are found by, with shape `(n, 1, 20, 20)`.
        whole: The blurred images themselves, what is left of one without details, with shape `(n, 1, 16, 16)`.
        ranks: Ranks of their pixels, which changes of tone leave as they are, with shape `(n, 1, 16, 16)`.
    """

    details: Tensor
    outline: Tensor
    whole: Tensor
    ranks: Tensor

    def mirrored(self) -> Views:
        """Return the views of the mirrored images."""
        return Views(*(view.flip(-1) for view in self))


def views_of(features: Tensor) -> Views:
    """Take features with shape `(n, D)` apart into views."""
    sizes = (DETAILS, OUTLINE, WHOLE, WHOLE)
    parts = features.float().split([size**2 for size in sizes], dim=1)
    return Views(*(part.view(-1, 1, size, size) for part, size in zip(parts, sizes, strict=True)))


class _Views(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        """Return the four views of images, one after the other."""
        grey = images.mean(dim=1, keepdim=True)
        details = adaptive_avg_pool2d(relief(grey, inner=1.0, outer=4.0), DETAILS)
        outline = relief(adaptive_avg_pool2d(grey, OUTLINE), inner=0.5, outer=1.75)
        whole = adaptive_avg_pool2d(blurred(grey, 1.5), WHOLE)
        return torch.cat([view.flatten(1) for view in (details, outline, whole, _ranks(whole))], dim=1)


def _ranks(images: Tensor) -> Tensor:
    """Return the mean rank of each pixel within its image, which no change of tone alters."""
    flat = images.flatten(1)
    ordered = flat.sort(dim=1).values
    below, upto = (torch.searchsorted(ordered, flat, right=right) for right in (False, True))
    return ((below + upto).float() / 2 / flat.shape[1]).view_as(images)


class CopyEncoder(Encoder):
    """What `CopyFinder` compares of an image; it has no weights.

    Args:
        batch_size: Images encoded at once.
        device: Where to encode: `auto` (a GPU where there is one), `cpu`, `cuda`, ...
    """

    def __init__(self, batch_size: int = 256, device: str = "auto") -> None:
        super().__init__(64, batch_size, device)

    def load(self) -> nn.Module:
        """Return what makes the views."""
        return _Views()
