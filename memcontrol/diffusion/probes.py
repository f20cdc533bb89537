r"""What a U-Net gives away of single images: scores with a fixed grid of noise and timesteps.

Every score is a function of one image, its caption and its seed; neither the batch nor the number of processes
changes it (up to rounding). All but the loss, which is that of training, convert what the U-Net predicts to noise, so
that velocity models compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from memcontrol.diffusion.losses import denoising_errors
from memcontrol.diffusion.noising import noise_latents, sample_timesteps

__all__ = ["Denoiser", "denoising_losses", "noise_norm", "pia", "secmi", "sima"]


@dataclass(frozen=True)
class Denoiser:
    """A U-Net with its noise schedule.

    Args:
        unet: Maps `(x_t, t, states)` to the prediction, with the shape of `x_t`.
        scheduler: Noise schedule, and what is predicted.
        module: The module that does so, for whoever looks into it.
    """

    unet: Callable[[Tensor, Tensor, Tensor], Tensor]
    scheduler: DDPMScheduler
    module: nn.Module | None = None

    @property
    def num_timesteps(self) -> int:
        """Length of the noise schedule."""
        return int(self.scheduler.config["num_train_timesteps"])

    def levels(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t, each with shape `(B, 1, 1, 1)`."""
        index = t.to(like.device).long()  # some samplers count in floats
        kept = self.scheduler.alphas_cumprod.to(like.device)[index].to(like.dtype)[:, None, None, None]
        return kept.sqrt(), (1 - kept).sqrt()

    def noise(self, x_t: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """Return the predicted noise, with the shape of `x_t`."""
        return self.as_noise(self.unet(x_t, t.to(x_t.device), states), x_t, t)

    def as_noise(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Convert a prediction to noise, with the shape of `x_t`."""
        if self.scheduler.config.get("prediction_type") != "v_prediction":
            return prediction
        alpha, sigma = self.levels(t, x_t)
        return alpha * prediction + sigma * x_t


def _clean(moments: Tensor) -> Tensor:
    """Return the mean latent, the same for every call."""
    return moments[:, 0]


@torch.no_grad()
def denoising_losses(
    denoiser: Denoiser, moments: Tensor, states: Tensor, seeds: Tensor, draws: int = 4, share: float = 1.0
) -> Tensor:
    """Return the denoising errors at fixed noise and timesteps; lower for members.

    Args:
        denoiser: The model.
        moments: Posterior mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
        states: Encoded captions, with shape `(B, L, D)`.
        seeds: One seed per image, with shape `(B,)`.
        draws: Noise and timestep pairs per image, one in each equal part of the schedule.
        share: Share of the schedule, from little noise, that the pairs are spread over, in (0, 1].

    Returns:
        Mean squared errors with shape `(B, draws)`, from low timesteps (little noise) to high ones.

    References:
        Matsumoto et al., "Membership inference attacks against diffusion models", IEEE S&P Workshops 2023,
        https://arxiv.org/abs/2302.03262.
    """
    errors = []
    for part in range(draws):
        t = sample_timesteps(seeds, max(1, int(share * denoiser.num_timesteps)), part, draws)
        noised = noise_latents(denoiser.scheduler, moments[:, :1], seeds, t, stream=f"probe {part}")
        errors.append(denoising_errors(denoiser.unet(noised.x_t, noised.t, states), noised.target))
    return torch.stack(errors, dim=1)


@torch.no_grad()
def noise_norm(
    denoiser: Denoiser, moments: Tensor, states: Tensor, null: Tensor, seeds: Tensor, draws: int = 4
) -> Tensor:
    r"""Return the text-conditional noise norm in its training form; lower is less memorized.

    .. math:: \| \epsilon(x_t, t, c) - \epsilon(x_t, t, \varnothing) \|_2

    Args:
        denoiser: The model.
        moments: Posterior mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
        states: Encoded captions, with shape `(B, L, D)`.
        null: The encoded empty caption, with shape `(1, L, D)`.
        seeds: One seed per image, with shape `(B,)`.
        draws: Noise and timestep pairs per image.

    Returns:
        Norms averaged over the draws, with shape `(B,)`.

    References:
        Wen et al., "Detecting, explaining, and mitigating memorization in diffusion models", ICLR 2024,
        https://arxiv.org/abs/2407.21720, eq. 3 and section 4.3.
    """
    norms = []
    empty = null.to(states).expand_as(states)
    for part in range(draws):
        t = sample_timesteps(seeds, denoiser.num_timesteps, part, draws)
        noised = noise_latents(denoiser.scheduler, moments[:, :1], seeds, t, stream=f"probe {part}")
        gap = denoiser.noise(noised.x_t, noised.t, states) - denoiser.noise(noised.x_t, noised.t, empty)
        norms.append(gap.float().flatten(1).norm(dim=1))
    return torch.stack(norms).mean(dim=0)


def _ddim(denoiser: Denoiser, x: Tensor, start: Tensor, end: Tensor, states: Tensor) -> Tensor:
    """Move along the deterministic path from one timestep to another, in one step."""
    alpha, sigma = denoiser.levels(start, x)
    alpha_end, sigma_end = denoiser.levels(end, x)
    noise = denoiser.noise(x, start, states)
    return alpha_end * (x - sigma * noise) / alpha + sigma_end * noise


@torch.no_grad()
def secmi(
    denoiser: Denoiser, moments: Tensor, states: Tensor, at: Sequence[int] = (20, 50, 100), interval: int = 10
) -> Tensor:
    """Return the errors of one deterministic step forth and back; lower for members.

    Args:
        denoiser: The model.
        moments: Posterior mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
        states: Encoded captions, with shape `(B, L, D)`.
        at: Timesteps at which errors are taken, in rising order; multiples of `interval`.
        interval: Timesteps of one step.

    Returns:
        Squared l2 errors with shape `(B, len(at))`.

    References:
        Duan et al., "Are diffusion models vulnerable to membership inference attacks?", ICML 2023,
        https://arxiv.org/abs/2302.01316, eq. 9 and 10 (SecMI-stat, at 100 there).
    """
    x, errors = _clean(moments), []
    for now in range(0, at[-1] + interval, interval):
        start, end = (torch.full((len(x),), t) for t in (now, now + interval))
        forth = _ddim(denoiser, x, start, end, states)
        if now in at:
            back = _ddim(denoiser, forth, end, start, states)
            errors.append((back - x).float().square().flatten(1).sum(dim=1))
        x = forth
    return torch.stack(errors, dim=1)


@torch.no_grad()
def pia(
    denoiser: Denoiser, moments: Tensor, states: Tensor, at: Sequence[int] = (50, 100, 200, 400), order: int = 4
) -> Tensor:
    """Return the proximal initialisation errors; lower for members.

    Args:
        denoiser: The model.
        moments: Posterior mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
        states: Encoded captions, with shape `(B, L, D)`.
        at: Timesteps at which errors are taken.
        order: Order of the norm.

    Returns:
        Errors with shape `(B, len(at))`.

    References:
        Kong et al., "An efficient membership inference attack for the diffusion model by proximal initialization",
        ICLR 2024, https://arxiv.org/abs/2305.18355, eq. 12 (at 200 there).
    """
    x_0 = _clean(moments)
    noise = denoiser.noise(x_0, torch.zeros(len(x_0), dtype=torch.long), states)
    errors = []
    for now in at:
        t = torch.full((len(x_0),), now)
        alpha, sigma = denoiser.levels(t, x_0)
        gap = noise - denoiser.noise(alpha * x_0 + sigma * noise, t, states)
        errors.append(torch.linalg.vector_norm(gap.float().flatten(1), ord=order, dim=1))
    return torch.stack(errors, dim=1)


@torch.no_grad()
def sima(denoiser: Denoiser, moments: Tensor, states: Tensor, at: Sequence[int] = (25, 50, 100, 200)) -> Tensor:
    r"""Return the norms of the noise that is predicted for the image itself; lower for members.

    .. math:: \| \epsilon(x_0, t, c) \|_2

    The predicted noise points away from the mean of the training images around, which a member lies in the middle of.

    Args:
        denoiser: The model.
        moments: Posterior mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
        states: Encoded captions, with shape `(B, L, D)`.
        at: Timesteps that the model is told.

    Returns:
        Norms with shape `(B, len(at))`.

    References:
        Rao et al., "Score-based membership inference on diffusion models", 2025, https://arxiv.org/abs/2509.25003
        (SimA: one query, without noise).
    """
    x_0 = _clean(moments)
    noises = [denoiser.noise(x_0, torch.full((len(x_0),), now), states) for now in at]
    return torch.stack([torch.linalg.vector_norm(noise.float().flatten(1), dim=1) for noise in noises], dim=1)
