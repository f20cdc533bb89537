"""The picture itself, small: what a near copy cannot help but keep."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from memcontrol.measures.encoders.base import Encoder

__all__ = ["ThumbnailEncoder"]


class _Thumbnail(nn.Module):
    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean-free thumbnail with shape `(B, side * side)`."""
        small = adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), self.side).flatten(1)
        return small - small.mean(dim=1, keepdim=True)


class ThumbnailEncoder(Encoder):
    """A grey thumbnail without its mean: the cosine of two is their correlation, whatever brightness and contrast.

    Args:
        side: Height and width of the thumbnail, in pixels.
        size: Height and width that images are resized to first, in pixels.
        batch_size: Images encoded at once.
        device: Where to encode: `auto` (a GPU where there is one), `cpu`, `cuda`, ...
    """

    def __init__(self, side: int = 16, size: int = 64, batch_size: int = 256, device: str = "auto") -> None:
        super().__init__(size, batch_size, device)
        self.side = side

    def load(self) -> nn.Module:
        """Return the averaging."""
        return _Thumbnail(self.side)

    @property
    def digest(self) -> str:
        """Hex digest of class, size and side."""
        return f"{super().digest}-{self.side}"
