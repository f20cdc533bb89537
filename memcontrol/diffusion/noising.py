"""The forward process, with all its randomness counted by sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from memcontrol.diffusion.codecs import sample_latents
from memcontrol.diffusion.losses import prediction_target
from memcontrol.seeds import normal_like_seeds, uniform_from_seeds

__all__ = ["Noised", "noise_latents", "sample_timesteps"]


@dataclass(frozen=True)
class Noised:
    """Noised latents with what should be predicted from them.

    Args:
        x_t: Noised latents, with shape `(B, C, h, w)`.
        t: Timesteps, with shape `(B,)`.
        target: Noise or velocity, with shape `(B, C, h, w)`.
        weights: Weight of each sample's error, with shape `(B,)`, or None for 1.
    """

    x_t: Tensor
    t: Tensor
    target: Tensor
    weights: Tensor | None = None


def sample_timesteps(seeds: Tensor, num_timesteps: int, part: int = 0, num_parts: int = 1) -> Tensor:
    """Draw one timestep per sample, from one of equal parts of the schedule.

    Args:
        seeds: One seed per sample, with shape `(B,)`.
        num_timesteps: Length of the schedule.
        part: Number of the part.
        num_parts: Into how many parts the schedule is cut.

    Returns:
        Timesteps in [0, num_timesteps), with shape `(B,)`.
    """
    share = (part + uniform_from_seeds(seeds, f"timestep {part}")) / num_parts
    return (share * num_timesteps).long().clamp_max(num_timesteps - 1)


def noise_latents(
    scheduler: DDPMScheduler,
    moments: Tensor,
    seeds: Tensor,
    t: Tensor,
    noise_offset: float = 0.0,
    input_perturbation: float = 0.0,
    stream: str = "noise",
) -> Noised:
    """Noise a batch of latents.

    Args:
        scheduler: Noise schedule, and what is predicted.
        moments: Posterior mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
        seeds: One seed per sample, with shape `(B,)`.
        t: Timesteps, with shape `(B,)`.
        noise_offset: Standard deviation of a constant added to each channel's noise
            (https://www.crosslabs.org/blog/diffusion-with-offset-noise).
        input_perturbation: Standard deviation of further noise that the U-Net sees but should not predict
            (Ning et al., 2023, https://arxiv.org/abs/2301.11706).
        stream: Name of the noise, so that one seed gives several independent draws.
    """
    shape = tuple(moments.shape[2:])
    device = moments.device
    x_0 = moments[:, 0]
    if moments.shape[1] == 2:
        x_0 = sample_latents(moments, normal_like_seeds(seeds, shape, f"posterior {stream}").to(device))
    noise = normal_like_seeds(seeds, shape, stream)
    if noise_offset:
        noise = noise + noise_offset * normal_like_seeds(seeds, (shape[0], 1, 1), f"offset {stream}")
    seen = noise
    if input_perturbation:
        seen = noise + input_perturbation * normal_like_seeds(seeds, shape, f"perturbation {stream}")
    noise, seen, t = noise.to(device), seen.to(device), t.to(device)
    x_t = scheduler.add_noise(x_0, seen, t)
    return Noised(x_t, t, prediction_target(scheduler, x_0, noise, t))


def drop_captions(states: Tensor, null: Tensor, seeds: Tensor, probability: float) -> Tensor:
    """Replace the states of some captions by those of the empty one.

    Args:
        states: Encoded captions, with shape `(B, L, D)`.
        null: The encoded empty caption, with shape `(1, L, D)`.
        seeds: One seed per sample, with shape `(B,)`.
        probability: Share of captions that are dropped.
    """
    if probability <= 0:
        return states
    dropped = (uniform_from_seeds(seeds, "caption") < probability).to(states.device)
    return torch.where(dropped[:, None, None], null.to(states), states)
