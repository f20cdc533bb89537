"""The frozen end of the model that sees images: to latents and back."""

from __future__ import annotations

from functools import cached_property

import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from memcontrol.diffusion.components import Vae
from memcontrol.files.digests import weights_digest

__all__ = ["LatentCodec", "sample_latents"]


class LatentCodec:
    """An auto-encoder with its latents in the U-Net's scale.

    Args:
        vae: `AutoencoderKL` (mean and standard deviation) or `AutoencoderTiny` (mean only; its latents are
            already scaled).
    """

    def __init__(self, vae: Vae) -> None:
        self.vae = vae

    @cached_property
    def digest(self) -> str:
        """Digest of weights and scale."""
        return weights_digest(self.vae, scale=self.scale, kind=type(self.vae).__name__)

    @property
    def scale(self) -> float:
        """Factor from the auto-encoder's latents to the U-Net's."""
        return float(self.vae.config["scaling_factor"])

    @property
    def factor(self) -> int:
        """Pixels per latent, along one side."""
        return int(2 ** (len(self.vae.config["block_out_channels"]) - 1))

    def record_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return `(1 or 2, C, h, w)`."""
        moments = 1 if isinstance(self.vae, AutoencoderTiny) else 2
        channels = int(self.vae.config["latent_channels"])
        return (moments, channels, height // self.factor, width // self.factor)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Args:
            pixels: Images with shape `(B, 3, H, W)`, values in [-1, 1].

        Returns:
            Mean, and standard deviation where there is one, with shape `(B, 1 or 2, C, h, w)`.
        """
        pixels = pixels.to(self.vae.device, self.vae.dtype)
        if isinstance(self.vae, AutoencoderTiny):
            latents: Tensor = self.vae.encode(pixels).latents
            return self.scale * latents[:, None]
        posterior = self.vae.encode(pixels).latent_dist
        return self.scale * torch.stack([posterior.mean, posterior.std], dim=1)


def sample_latents(moments: Tensor, noise: Tensor) -> Tensor:
    """Draw from the posterior.

    Args:
        moments: Mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
        noise: Standard normal, with shape `(B, C, h, w)`.

    Returns:
        Latents `mean + std * noise`, with shape `(B, C, h, w)`.
    """
    mean = moments[:, 0]
    return mean if moments.shape[1] == 1 else mean + moments[:, 1] * noise
