"""Min-SNR weights against their formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from memcontrol.diffusion.losses import min_snr_weights


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
