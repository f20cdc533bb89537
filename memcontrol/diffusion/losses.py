r"""The noise-prediction loss and its weights.

A latent :math:`x_0` is noised to :math:`x_t = \alpha_t x_0 + \sigma_t \epsilon`, and the U-Net predicts the
noise :math:`\epsilon` or the velocity :math:`v = \alpha_t \epsilon - \sigma_t x_0`. The loss of one sample is
the mean squared error over its latent, times a weight.
"""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor

__all__ = ["denoising_errors", "min_snr_weights", "prediction_target"]

LARGE = 1e30
"""Stands for the SNR of a latent without noise, which is infinite."""


def prediction_target(scheduler: DDPMScheduler, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return what the U-Net should predict.

    Args:
        scheduler: Says whether noise or velocity is predicted.
        x_0: Latents, with shape `(B, C, h, w)`.
        noise: Noise, with the same shape.
        t: Timesteps, with shape `(B,)`.

    Returns:
        Noise or velocity, with shape `(B, C, h, w)`.
    """
    if scheduler.config["prediction_type"] == "v_prediction":
        velocity: Tensor = scheduler.get_velocity(x_0, noise, t)
        return velocity
    return noise


def denoising_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each sample in single precision, with shape `(B,)`; lower is better.

    Example:
        >>> denoising_errors(torch.zeros(2, 4, 8, 8), torch.ones(2, 4, 8, 8))
        tensor([1., 1.])
    """
    return (prediction.float() - target.float()).square().flatten(1).mean(dim=1)


def min_snr_weights(scheduler: DDPMScheduler, t: Tensor, gamma: float) -> Tensor:
    """Weigh timesteps so that easy ones do not dominate.

    Args:
        scheduler: Noise schedule, and what is predicted.
        t: Timesteps, with shape `(B,)`.
        gamma: Upper bound on the signal-to-noise ratio that counts; 5 in the paper.

    Returns:
        `min(SNR, gamma) / SNR` for noise, `min(SNR, gamma) / (SNR + 1)` for velocity, with shape `(B,)`.

    References:
        Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", ICCV 2023,
        https://arxiv.org/abs/2303.09556 (section 3.4).
    """
    snr = compute_snr(scheduler, t)
    if scheduler.config["prediction_type"] == "v_prediction":
        weights: Tensor = torch.clamp(snr, max=gamma) / (snr.clamp_max(LARGE) + 1)
        return weights
    return torch.clamp(gamma / snr, max=1)  # 1 where a schedule ends in pure noise, whose SNR is 0
