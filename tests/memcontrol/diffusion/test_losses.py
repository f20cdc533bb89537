"""Min-SNR weights against their formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from memcontrol.diffusion.losses import denoising_errors, min_snr_weights
from memcontrol.diffusion.noising import noise_latents
from memcontrol.diffusion.probes import Denoiser


@pytest.mark.parametrize(("predicted", "shift"), [("epsilon", 0), ("v_prediction", 1)])
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights(predicted, shift, gamma):
    scheduler = DDPMScheduler(prediction_type=predicted)
    t = np.array([0, 1, 50, 200, 500, 999])
    share = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))[t]  # the scheduler's alphas_cumprod
    assert scheduler.alphas_cumprod.numpy()[t] == pytest.approx(share, rel=1e-4)
    snr = share / (1 - share)
    assert snr.max() > gamma > snr.min()
    expected = np.minimum(snr, gamma) / (snr + shift)
    assert min_snr_weights(scheduler, torch.from_numpy(t), gamma).numpy() == pytest.approx(expected, rel=1e-3)


SCHEDULES = ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]


@pytest.mark.parametrize("predicted", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("ends_in_noise", [False, True])
@pytest.mark.parametrize("schedule", [*SCHEDULES, "trained"])
def test_losses_and_weights_are_finite_at_each_timestep(schedule, ends_in_noise, predicted):
    betas = (
        {"trained_betas": [0.0, *np.linspace(1e-4, 0.5, 99)]} if schedule == "trained" else {"beta_schedule": schedule}
    )
    scheduler = DDPMScheduler(rescale_betas_zero_snr=ends_in_noise, prediction_type=predicted, **betas)
    steps = int(scheduler.config["num_train_timesteps"]) if schedule != "trained" else 100
    t = torch.arange(steps)
    weights = min_snr_weights(scheduler, t, 5.0)
    assert weights.isfinite().all()
    assert ((weights >= 0) & (weights <= 1)).all()
    noised = noise_latents(scheduler, torch.ones(steps, 1, 1, 2, 2), t, t)
    assert noised.x_t.isfinite().all()
    assert denoising_errors(torch.zeros_like(noised.target), noised.target).isfinite().all()
    denoiser = Denoiser(lambda x, t, c: x, scheduler)
    assert denoiser.as_noise(noised.x_t, noised.x_t, t).isfinite().all()
