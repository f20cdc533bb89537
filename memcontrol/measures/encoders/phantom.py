"""A small encoder that comes with memcontrol, trained on its phantoms: for tests and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from safetensors.torch import load_file
from torch import Tensor, nn

from memcontrol.measures.encoders.base import Encoder

__all__ = ["PhantomEncoder", "PhantomNetwork"]

WEIGHTS: Final = Path(__file__).parents[2] / "assets" / "phantom-encoder.safetensors"


class PhantomNetwork(nn.Module):
    """Four strided convolutions, then averages over the four quarters of the picture."""

    width = 128

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside in ((1, 16), (16, 32), (32, 48), (48, 32)):
            layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.GroupNorm(4, outside), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        """Return features with shape `(B, 128)` of images with values in [0, 1]."""
        found: Tensor = self.layers(2 * images.mean(dim=1, keepdim=True) - 1)
        return found


class PhantomEncoder(Encoder):
    """Features of phantoms, width 128; of no use for real images.

    Args:
        size: Height and width that images are resized to, in pixels.
        batch_size: Images encoded at once.
        device: Where to encode: `auto` (a GPU where there is one), `cpu`, `cuda`, ...
    """

    def __init__(self, size: int = 64, batch_size: int = 256, device: str = "auto") -> None:
        super().__init__(size, batch_size, device)

    def load(self) -> nn.Module:
        """Return the network with its weights."""
        network = PhantomNetwork()
        network.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS).items()})
        return network
