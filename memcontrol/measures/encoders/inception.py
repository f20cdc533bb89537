"""Inception V3 as FID is usually taken on, from torch-fidelity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memcontrol.errors import EncoderError
from memcontrol.measures.encoders.base import Encoder, missing_package

__all__ = ["InceptionEncoder"]


class _Features(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return features with shape `(B, 2048)` of bytes."""
        found: Tensor = self.network(images)[0]
        return found


class InceptionEncoder(Encoder):
    """The 2,048 features of Inception V3 (2015-12-05) that published FID figures use; weights are downloaded.

    Args:
        weights: File with the weights, where they cannot be downloaded.
        size: Height and width that images are resized to, in pixels.
        batch_size: Images encoded at once.
        device: Where to encode: `auto` (a GPU where there is one), `cpu`, `cuda`, ...
    """

    def __init__(self, weights: str | None = None, size: int = 299, batch_size: int = 32, device: str = "auto") -> None:
        super().__init__(size, batch_size, device)
        self.weights = weights

    def load(self) -> nn.Module:
        """Return torch-fidelity's extractor."""
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise missing_package("torch-fidelity", "inception") from error
        if self.weights is not None:
            _refuse_pickles(Path(self.weights).expanduser())
        return _Features(FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], self.weights))

    def prepare(self, images: Tensor) -> Tensor:
        """Return bytes, which is what the extractor takes."""
        return (images * 255).round().byte()


def _refuse_pickles(path: Path) -> None:
    """Refuse a file that is more than tensors, since torch-fidelity would run what is in it."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise EncoderError(
            f"Argument `weights` is {str(path)!r}, which is no file of plain tensors, and loading it could run code. "
            "Give a state dict that `torch.save` wrote."
        ) from error
