"""What turns images into features; weights are loaded at first use."""

from __future__ import annotations

import hashlib
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from memcontrol.described import Described
from memcontrol.devices import device_named
from memcontrol.errors import EncoderError
from memcontrol.files.digests import update_with_weights

__all__ = ["Encoder", "missing_package"]


class Encoder(Described):
    """Maps images to features in single precision, on the CPU.

    A subclass says which network (`load`), at which size and how pixels are scaled (`prepare`).

    Args:
        size: Height and width that images are resized to, in pixels.
        batch_size: Images encoded at once.
        device: Where to encode: `auto` (a GPU where there is one), `cpu`, `cuda`, ...
    """

    changes_nothing = ("batch_size", "device")
    """Options that features do not depend on."""

    def __init__(self, size: int = 224, batch_size: int = 64, device: str = "auto") -> None:
        if size < 1 or batch_size < 1:
            raise EncoderError(
                f"Arguments `size` and `batch_size` must be at least 1, but got {size} and {batch_size}."
            )
        self.size = size
        self.batch_size = batch_size
        self.device = device
        self._network: nn.Module | None = None
        self._digest: str | None = None

    @abstractmethod
    def load(self) -> nn.Module:
        """Return the network, which maps prepared images to features with shape `(B, D)`."""

    def prepare(self, images: Tensor) -> Tensor:
        """Scale pixels from [0, 1] to what the network was trained on."""
        return images

    def __repr__(self) -> str:
        """Return class and options: equal for encoders that give the same features."""
        options = ", ".join(f"{k}={v!r}" for k, v in sorted(vars(self).items()) if not k.startswith("_"))
        return f"{type(self).__name__}({options})"

    @property
    def name(self) -> str:
        """Short name for tables."""
        return type(self).__name__.removesuffix("Encoder").lower()

    @property
    def network(self) -> nn.Module:
        """The network, in eval mode."""
        if self._network is None:
            self._network = self.load().eval().requires_grad_(False).to(device_named(self.device))
        return self._network

    @property
    def digest(self) -> str:
        """Hex digest of weights, class and size."""
        if self._digest is None:
            hasher = hashlib.sha256(f"{type(self).__qualname__} {self.size} ".encode())
            update_with_weights(hasher, self.network)
            self._digest = hasher.hexdigest()
        return self._digest

    @property
    def width(self) -> int:
        """Number of features D."""
        return int(self.encode(torch.zeros(1, 3, self.size, self.size)).shape[1])

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Map images with shape `(B, 3, H, W)`, values in [0, 1], to features with shape `(B, D)`."""
        return torch.cat([self._encode(part) for part in images.split(self.batch_size)])

    def _encode(self, images: Tensor) -> Tensor:
        shape = (self.size, self.size)
        resized = images.float().to(device_named(self.device))
        if resized.shape[-2:] != shape:
            resized = interpolate(resized, shape, mode="bilinear", align_corners=False, antialias=True)
        features: Tensor = self.network(self.prepare(resized.clamp(0, 1)))
        return features.float().flatten(1).cpu().clone()


def missing_package(name: str, extra: str) -> EncoderError:
    """Return the error that says how to install what an encoder needs."""
    return EncoderError(f"This encoder needs `{name}`, which is not installed. Run: pip install 'memcontrol[{extra}]'")
