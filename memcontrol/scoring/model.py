"""A model as scoring sees it: it draws, and it can be probed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor

from memcontrol.diffusion.codecs import LatentCodec, TextCodec
from memcontrol.diffusion.probes import Denoiser, denoising_loss, noise_norm, pia, secmi
from memcontrol.diffusion.sampling import SamplingOptions, sample_batches

__all__ = ["ScoredModel"]


@dataclass(frozen=True)
class ScoredModel:
    """A pipeline with the precision it runs in.

    Args:
        pipeline: Draws images.
        size: Height and width of an image, in pixels.
        sampling: Steps, guidance and scheduler.
        precision: Opens the context that the U-Net runs in.
    """

    pipeline: StableDiffusionPipeline
    size: int
    sampling: SamplingOptions
    precision: Callable[[], AbstractContextManager[object]] = field(default=nullcontext)

    def draw(self, prompts: Sequence[str], seeds: Sequence[int], progress: bool = False) -> Iterator[Tensor]:
        """Draw batches of images with shape `(B, 3, size, size)`, values in [0, 1], one seed per image.

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
        return LatentCodec(self.pipeline.vae), TextCodec(self.pipeline.tokenizer, self.pipeline.text_encoder)

    def probe(
        self, moments: Tensor, states: Tensor, null: Tensor, seeds: Tensor, draws: int, attacks: bool = True
    ) -> dict[str, Tensor]:
        """Score single images at fixed noise and timesteps.

        Args:
            moments: Posterior mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
            states: Encoded captions, with shape `(B, L, D)`.
            null: The encoded empty caption, with shape `(1, L, D)`.
            seeds: One seed per image, with shape `(B,)`.
            draws: Noise and timestep pairs per image.
            attacks: Whether to return `secmi` and `pia` too.

        Returns:
            `loss`, `secmi`, `pia` (lower for members) and `noise_norm` (higher when memorized), with shape `(B,)`.
        """
        unet = self.pipeline.unet
        like = next(unet.parameters())
        moments, states, null = (x.to(device=like.device, dtype=like.dtype) for x in (moments, states, null))

        def predict(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            predicted: Tensor = unet(x, t, condition).sample
            return predicted

        denoiser = Denoiser(predict, DDPMScheduler.from_config(self.pipeline.scheduler.config))
        with self.precision():
            found = {
                "loss": denoising_loss(denoiser, moments, states, seeds, draws),
                "noise_norm": noise_norm(denoiser, moments, states, null, seeds, min(draws, 4)),
            }
            if attacks:
                found |= {"secmi": secmi(denoiser, moments, states), "pia": pia(denoiser, moments, states)}
        return {name: values.float().cpu() for name, values in found.items()}
