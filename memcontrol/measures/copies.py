"""Is an image a copy of a training image, also if it was cropped, mirrored, blurred, or changed in tone?

A training image is entered in several views (mirrored, cropped); an image's similarity is that of the nearest view.
The threshold comes from held-out patients, who are compared with the same views.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from memcontrol.measures.encoders import Encoder
from memcontrol.measures.functional.neighbours import nearest

__all__ = ["Match", "ViewsEncoder", "match_views"]


class Match(NamedTuple):
    """Nearest training image of each query."""

    similarity: Tensor
    """Cosine similarity in [-1, 1], with shape `(n,)`; higher is nearer."""
    row: Tensor
    """Row of the training image, with shape `(n,)`."""


class ViewsEncoder(Encoder):
    """Features of several views of an image, one after the other.

    Args:
        encoder: Encodes each view.
        crops: Shares of height and width that are kept around the centre, in (0, 1].
        mirror: Whether mirrored views are entered too.
    """

    def __init__(self, encoder: Encoder, crops: tuple[float, ...] = (1.0, 0.95, 0.9), mirror: bool = True) -> None:
        super().__init__(encoder.size, encoder.batch_size, encoder.device)
        self.encoder = encoder
        self.crops = crops
        self.mirror = mirror

    def load(self) -> nn.Module:
        """Return the network of the views' encoder."""
        return self.encoder.network

    @property
    def num_views(self) -> int:
        """Views of one image."""
        return len(self.crops) * (2 if self.mirror else 1)

    @property
    def digest(self) -> str:
        """Hex digest of the encoder and the views."""
        return f"{self.encoder.digest} crops={self.crops} mirror={self.mirror}"

    def encode(self, images: Tensor) -> Tensor:
        """Map images with shape `(B, 3, H, W)` to features with shape `(B, num_views * D)`."""
        views = [_centre(images, crop) for crop in self.crops]
        views += [view.flip(-1) for view in views] if self.mirror else []
        return torch.cat([self.encoder.encode(view) for view in views], dim=1)


def _centre(images: Tensor, share: float) -> Tensor:
    height, width = images.shape[-2:]
    top, left = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    return images[..., top : height - top, left : width - left]


def match_views(queries: Tensor, reference: Tensor, num_views: int) -> Match:
    """Find the training image with the most similar view.

    Args:
        queries: Features of plain images, with shape `(n, D)`.
        reference: Features of all views of training images, with shape `(m, num_views * D)`.
        num_views: Views of one training image.

    Returns:
        Similarity and row of the nearest training image.
    """
    similarity, found = nearest(queries, reference.reshape(len(reference) * num_views, -1))
    return Match(similarity, found // num_views)
