r"""A sampler's path, step by step, for what a pipeline of diffusers does not show or change.

At each step the U-Net predicts with and without the caption, and guidance mixes the two:

.. math:: \epsilon = \epsilon_\varnothing + w_t (\epsilon_c - \epsilon_\varnothing)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from memcontrol.diffusion.probes import Denoiser
from memcontrol.diffusion.sampling_mitigations import SamplingMitigation
from memcontrol.seeds import generator

__all__ = ["Step", "detection_norm", "walk"]


@dataclass(frozen=True)
class Step:
    """One step of a sampler.

    Args:
        number: Number of the step, from 0.
        t: Its timestep.
        gap: Noise predicted with the caption minus that without, with shape `(B, C, h, w)`.
        latents: Latents after the step, with shape `(B, C, h, w)`.
    """

    number: int
    t: int
    gap: Tensor
    latents: Tensor


@torch.no_grad()
def walk(
    denoiser: Denoiser,
    scheduler: Any,
    states: Tensor,
    null: Tensor,
    seeds: list[int],
    shape: tuple[int, int, int],
    steps: int,
    guidance_scale: float,
    mitigations: Sequence[SamplingMitigation] = (),
) -> Iterator[Step]:
    """Draw latents from pure noise.

    Args:
        denoiser: The model.
        scheduler: A scheduler of diffusers.
        states: Encoded captions, with shape `(B, L, D)`.
        null: The encoded empty caption, with shape `(1, L, D)`.
        seeds: One seed per image; it alone decides the first noise and what a stochastic sampler adds.
        shape: Shape of one latent, `(C, h, w)`.
        steps: Sampler steps.
        guidance_scale: Strength of guidance.
        mitigations: What changes guidance.

    Yields:
        Each step; the last one holds the result.
    """
    scheduler.set_timesteps(steps, device=states.device)
    streams = [generator(seed, "picture") for seed in seeds]
    first = torch.stack([torch.randn(shape, generator=stream) for stream in streams])
    latents = first.to(states) * scheduler.init_noise_sigma
    settings = {"generator": streams} if "generator" in signature(scheduler.step).parameters else {}
    empty = null.to(states).expand_as(states)
    for number, t in enumerate(scheduler.timesteps):
        seen = scheduler.scale_model_input(latents, t)
        times = t.expand(2 * len(latents))
        prediction = denoiser.unet(torch.cat([seen, seen]), times, torch.cat([empty, states]))
        without, with_caption = prediction.chunk(2)
        t_each = times[: len(latents)]
        gap = denoiser.as_noise(with_caption, seen, t_each) - denoiser.as_noise(without, seen, t_each)
        weight = guidance_scale
        for mitigation in mitigations:
            weight = mitigation.guidance(number, steps, weight)
        latents = scheduler.step(without + weight * (with_caption - without), t, latents, **settings).prev_sample
        yield Step(number, int(t), gap, latents)


def detection_norm(steps: Iterator[Step]) -> Tensor:
    """Return the text-conditional noise norm in its detection form: averaged along the sampler.

    Args:
        steps: A sampler's path, see `walk`.

    Returns:
        Norms with shape `(B,)`; lower is less memorized.

    References:
        Wen et al., ICLR 2024, https://arxiv.org/abs/2407.21720, eq. 3.
    """
    return torch.stack([step.gap.float().flatten(1).norm(dim=1) for step in steps]).mean(dim=0)
