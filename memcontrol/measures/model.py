"""A model as scoring sees it: it samples, and it can be probed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from memcontrol.diffusion.codecs import LatentCodec
from memcontrol.diffusion.components import Pipeline
from memcontrol.diffusion.probes import Denoiser
from memcontrol.diffusion.sampling import SamplingOptions, sample_batches
from memcontrol.diffusion.texts import TextCodec
from memcontrol.sizes import Size

__all__ = ["ScoredModel"]

RECONSTRUCTED_AT_ONCE: Final = 16


@dataclass(frozen=True)
class ScoredModel:
    """A pipeline with the precision it runs in.

    Args:
        pipeline: Samples images.
        size: Height and width of an image, in pixels; one number for a square.
        sampling: Steps, guidance and scheduler.
        precision: Opens the context that the U-Net runs in.
    """

    pipeline: Pipeline
    size: Size
    sampling: SamplingOptions
    precision: Callable[[], AbstractContextManager[object]] = field(default=nullcontext)

    def sample(self, prompts: Sequence[str], seeds: Sequence[int], progress: bool = False) -> Iterator[Tensor]:
        """Sample batches of images with shape `(B, 3, height, width)`, values in [0, 1], one seed per image.

        An image depends on its prompt and seed alone.
        """
        batches = sample_batches(self.pipeline, prompts, seeds, self.sampling, self.size, progress)
        while True:
            with self.precision():
                images = next(batches, None)
            if images is None:
                return
            yield images

    @property
    def codecs(self) -> tuple[LatentCodec, TextCodec]:
        """What encodes images and captions for this model."""
        return LatentCodec(self.pipeline.vae), TextCodec.of(self.pipeline)

    @property
    def denoiser(self) -> Denoiser:
        """The U-Net with its noise schedule of training."""
        unet = self.pipeline.unet

        def predict(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            predicted: Tensor = unet(x, t, condition).sample
            return predicted

        return Denoiser(predict, DDPMScheduler.from_config(self.pipeline.scheduler.config), unet)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Return what the autoencoder makes of images: a drawn picture has gone through it too.

        Args:
            images: Images with shape `(B, 3, height, width)`, values in [0, 1].

        Returns:
            Images of the same shape, values in [0, 1].
        """
        codec, vae = self.codecs[0], self.pipeline.vae
        found = [
            vae.decode((codec.encode(2 * part - 1)[:, 0] / codec.scale).to(vae.dtype)).sample.float().cpu()
            for part in images.split(RECONSTRUCTED_AT_ONCE)
        ]
        return (torch.cat(found) / 2 + 0.5).clamp(0, 1)

    def as_input(self, values: Tensor) -> Tensor:
        """Bring latents or text states to the U-Net's device and type."""
        like = next(self.pipeline.unet.parameters())
        return values.to(device=like.device, dtype=like.dtype)
