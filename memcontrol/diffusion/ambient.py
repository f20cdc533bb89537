r"""Ambient noising: above a noise level, a model sees one noisy version of each image, and never the image.

With :math:`x_n = \alpha_n x_0 + \sigma_n \epsilon_n` of a fixed noise per image, a latent of more noise is made from
it, :math:`x_t = r x_n + \sigma \epsilon` with :math:`r = \alpha_t / \alpha_n` and
:math:`\sigma^2 = \sigma_t^2 - r^2 \sigma_n^2`, and the loss is how well :math:`x_n` is told from it,

.. math:: E[x_n | x_t] = (\alpha_n \sigma^2 \hat x_0 + r \sigma_n^2 x_t) / \sigma_t^2,

which has the same minimum as the loss on clean images. Written as an error of the predicted noise, it has the weight
:math:`(\sigma / \sigma_t)^4`.
"""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from memcontrol.diffusion.losses import prediction_target
from memcontrol.diffusion.noising import Noised
from memcontrol.seeds import normal_like_seeds

__all__ = ["ambient"]


def ambient(
    scheduler: DDPMScheduler, noised: Noised, x_0: Tensor, seeds: Tensor, image_seeds: Tensor, start: float
) -> Noised:
    """Take samples above a timestep from a fixed noisy version of their images.

    Args:
        scheduler: Noise schedule, and what is predicted.
        noised: Noised latents with shape `(B, C, h, w)`; those below the timestep stay as they are.
        x_0: Latents that they were made from, of that shape.
        seeds: One seed per sample, with shape `(B,)`.
        image_seeds: One seed per image, the same at each visit, with shape `(B,)`.
        start: Share of the schedule at which it begins, in (0, 1).

    References:
        Shah et al., "Does generation require memorization? Creative diffusion models using ambient diffusion", ICML
        2025, https://arxiv.org/abs/2502.21278 (section 3, for the variance-exploding schedule there).
    """
    n = int(start * int(scheduler.config["num_train_timesteps"]))
    kept = scheduler.alphas_cumprod.to(x_0.device, torch.float64)
    above = noised.t > n
    if not bool(above.any()):
        return noised
    alpha, sigma = (value[:, None, None, None] for value in (kept[noised.t].sqrt(), (1 - kept[noised.t]).sqrt()))
    alpha_n, sigma_n = kept[n].sqrt(), (1 - kept[n]).sqrt()
    r = alpha / alpha_n
    rest = (sigma**2 - r**2 * sigma_n**2).clamp_min(0).sqrt()
    shape = tuple(x_0.shape[1:])
    fixed, fresh = (
        normal_like_seeds(of, shape, name).to(x_0.device, torch.float64)
        for of, name in ((image_seeds, "ambient image"), (seeds, "ambient"))
    )
    x_n = alpha_n * x_0 + sigma_n * fixed
    x_t = r * x_n + rest * fresh
    # the noise whose prediction would tell x_n exactly: the error's weight keeps it finite where `rest` is small
    clean = (sigma**2 * x_n - r * sigma_n**2 * x_t) / (alpha_n * rest.clamp_min(1e-6) ** 2)
    noise = (x_t - alpha * clean) / sigma
    target = prediction_target(scheduler, clean.to(x_0.dtype), noise.to(x_0.dtype), noised.t)
    weights = torch.where(above, (rest / sigma).flatten() ** 4, 1.0)
    chosen = above[:, None, None, None]
    return Noised(
        torch.where(chosen, x_t.to(x_0.dtype), noised.x_t),
        noised.t,
        torch.where(chosen, target, noised.target),
        weights.to(torch.float32),
    )
