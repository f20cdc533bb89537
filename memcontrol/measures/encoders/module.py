"""Any network, by class path."""

from __future__ import annotations

from torch import nn

from memcontrol.measures.encoders.base import Encoder

__all__ = ["ModuleEncoder"]


class ModuleEncoder(Encoder):
    """Features of a given network, which takes images with values in [0, 1].

    Args:
        network: Maps `(B, 3, size, size)` to features.
        size: Height and width that images are resized to, in pixels.
        batch_size: Images encoded at once.
        device: Where to encode: `auto` (a GPU where there is one), `cpu`, `cuda`, ...
    """

    def __init__(self, network: nn.Module, size: int = 224, batch_size: int = 64, device: str = "auto") -> None:
        super().__init__(size, batch_size, device)
        self._given = network

    def load(self) -> nn.Module:
        """Return the network."""
        return self._given
