"""Ambient noising: the image is not seen above the level, and the best prediction stays what it was."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from memcontrol.diffusion.ambient import ambient
from memcontrol.diffusion.noising import noise_latents

COUNT, SHAPE = 20000, (1, 2, 2)


def noised(t, prediction_type="epsilon", spread=0.5):
    scheduler = DDPMScheduler(num_train_timesteps=1000, prediction_type=prediction_type)
    images = spread * torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(0))
    seeds = torch.arange(COUNT)
    plain = noise_latents(scheduler, images[:, None], seeds, torch.full((COUNT,), t))
    return scheduler, images, plain, ambient(scheduler, plain, images, seeds, 10**6 + seeds, 0.3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("t", [350, 600, 950])
def test_the_best_prediction_is_that_of_clean_images(t, prediction_type):
    """Images are normal, so the best prediction is linear in what is seen: weighted regression finds its slope."""
    scheduler, _, plain, found = noised(t, prediction_type)
    slopes = []
    for of in (plain, found):
        weights = torch.ones(COUNT) if of.weights is None else of.weights
        w, x, y = weights[:, None, None, None].double(), of.x_t.double(), of.target.double()
        slopes.append(float((w * x * y).sum() / (w * x * x).sum()))
    alpha = float(scheduler.alphas_cumprod[t]) ** 0.5
    sigma = (1 - alpha**2) ** 0.5
    total = alpha**2 * 0.25 + sigma**2
    expected = sigma / total if prediction_type == "epsilon" else alpha * sigma * (1 - 0.25) / total
    assert slopes[0] == pytest.approx(expected, abs=0.02)
    assert slopes[1] == pytest.approx(expected, abs=0.03)
    assert found.x_t.std() == pytest.approx(float(plain.x_t.std()), rel=0.02)


def test_below_the_level_nothing_changes():
    *_, plain, found = noised(299)
    assert found is plain


def test_above_it_every_visit_sees_the_same_noisy_image():
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    image = torch.ones(1, *SHAPE).expand(COUNT, *SHAPE)
    visits, same = torch.arange(COUNT), torch.full((COUNT,), 7)
    t = torch.full((COUNT,), 301)
    plain = noise_latents(scheduler, image[:, None], visits, t)
    found = ambient(scheduler, plain, image, visits, same, 0.3)
    other = ambient(scheduler, plain, image, visits, same + 1, 0.3)
    assert found.x_t.std(dim=0).max() < 0.1  # one step above, hardly any noise is fresh
    assert (found.x_t.mean(dim=0) - other.x_t.mean(dim=0)).abs().mean() > 0.3  # each image has its own
    assert found.target.isfinite().all()
    assert (found.weights[:, None, None, None] * found.target.square()).mean() < 10
