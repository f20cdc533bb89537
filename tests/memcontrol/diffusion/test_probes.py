"""Probes depend on the image, its caption and its seed, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.probes import Denoiser, denoising_losses, noise_norm, pia, secmi, sima
from memcontrol.diffusion.prompt_optimization import PromptOptimization, optimise
from memcontrol.diffusion.texts import TextCodec
from memcontrol.diffusion.trajectory import detection_norm, walk
from memcontrol.seeds import derive_seed, generator


@pytest.fixture(scope="module")
def world():
    pipeline = load_components("embedded").pipeline()
    codec = TextCodec(pipeline.tokenizer, pipeline.text_encoder)
    rng = torch.Generator().manual_seed(0)
    moments = torch.randn(64, 1, 4, 8, 8, generator=rng)
    states = codec.encode([f"CXR PA, {20 + i}M" for i in range(64)])
    denoiser = Denoiser(lambda x, t, c: pipeline.unet(x, t, c).sample, pipeline.scheduler)
    return denoiser, moments, states, codec.encode([""]), torch.arange(64)


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.whole), 7])
def test_scores_do_not_depend_on_the_batch(world, size):
    denoiser, moments, states, null, seeds = world
    scores = {
        "norm": lambda i: noise_norm(denoiser, moments[i], states[i], null, seeds[i]),
        "loss": lambda i: denoising_losses(denoiser, moments[i], states[i], seeds[i]),
        "secmi": lambda i: secmi(denoiser, moments[i], states[i]),
        "pia": lambda i: pia(denoiser, moments[i], states[i]),
        "sima": lambda i: sima(denoiser, moments[i], states[i]),
    }
    for name, score in scores.items():
        whole = score(torch.arange(16))
        parts = torch.cat([score(rows) for rows in torch.arange(16).split(size)])
        assert parts == pytest.approx(whole, rel=1e-4), name


def test_detection_norm_does_not_depend_on_the_batch(world):
    denoiser, _, states, null, _ = world
    scheduler = DDPMScheduler.from_config(denoiser.scheduler.config)
    scheduler = DDIMScheduler.from_config(scheduler.config)

    def norm(rows):
        return detection_norm(walk(denoiser, scheduler, states[rows], null, list(rows), (4, 8, 8), 4, 4.0))

    assert torch.cat([norm([0]), norm([1, 2])]) == pytest.approx(norm([0, 1, 2]), rel=1e-4)


def test_a_velocity_model_gives_the_same_noise():
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    velocity = DDPMScheduler(num_train_timesteps=1000, prediction_type="v_prediction")
    rng = torch.Generator().manual_seed(0)
    x_0, noise = torch.randn(2, 4, 8, 8, generator=rng), torch.randn(2, 4, 8, 8, generator=rng)
    t = torch.tensor([10, 900])
    x_t = scheduler.add_noise(x_0, noise, t)
    v = velocity.get_velocity(x_0, noise, t)
    assert torch.allclose(Denoiser(lambda *_: v, velocity).noise(x_t, t, x_t), noise, atol=1e-4)


class Pair:
    """One model, once as it predicts noise and once as it predicts velocity."""

    def __init__(self):
        self.noise = DDPMScheduler(num_train_timesteps=1000)
        self.velocity = DDPMScheduler(num_train_timesteps=1000, prediction_type="v_prediction")

    def predict_noise(self, x_t, t, states):
        return (x_t + states.mean(dim=(1, 2))[:, None, None, None]).sin()

    def predict_velocity(self, x_t, t, states):
        alpha, sigma = Denoiser(self.predict_noise, self.noise).levels(t, x_t)
        return (self.predict_noise(x_t, t, states) - sigma * x_t) / alpha

    def denoisers(self):
        return Denoiser(self.predict_noise, self.noise), Denoiser(self.predict_velocity, self.velocity)


def test_prompt_optimisation_takes_the_same_norm_of_a_velocity_model():
    rng = torch.Generator().manual_seed(0)
    states, null, x = (torch.randn(shape, generator=rng) for shape in ((2, 5, 8), (1, 5, 8), (2, 4, 8, 8)))
    options = PromptOptimization(target=1e-6, steps=3)
    t = torch.full((2,), 500.0)  # some samplers count in floats
    one, other = (optimise(denoiser, states, null, x, t, options) for denoiser in Pair().denoisers())
    assert (one - states).abs().max() > 0.01
    assert torch.allclose(one, other, atol=1e-4)


def test_detection_norm_is_the_same_of_a_velocity_model():
    rng = torch.Generator().manual_seed(0)
    states, null = (torch.randn(shape, generator=rng) for shape in ((2, 5, 8), (1, 5, 8)))
    one, other = (
        detection_norm(
            walk(denoiser, DDIMScheduler.from_config(denoiser.scheduler.config), states, null, [1, 2], (4, 8, 8), 4, 2)
        )
        for denoiser in Pair().denoisers()
    )
    assert one == pytest.approx(other, rel=1e-3)


def test_secmi_and_pia_are_zero_for_a_perfect_model():
    """A model whose noise is constant walks a straight path, forth and back."""
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    denoiser = Denoiser(lambda *_: noise, scheduler)
    moments = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert secmi(denoiser, moments, noise).max() < 1e-6
    assert pia(denoiser, moments, noise).max() == 0


def test_probes_equal_a_computation_by_hand(world):
    """One image at a time, with the scheduler's own numbers in NumPy."""
    denoiser, moments, states, null, seeds = world
    kept = denoiser.scheduler.alphas_cumprod.numpy().astype(np.float64)
    x_0, c, row = moments[3:4, 0], states[3:4], seeds[3:4]

    def eps(x, t, condition):
        with torch.no_grad():
            return denoiser.unet(torch.as_tensor(x, dtype=torch.float32), torch.tensor([t]), condition).numpy()

    norms, losses = [], []
    for draw in range(2):
        t = int((draw + derive_seed(3, f"timestep {draw}") / 2**63) / 2 * 1000)
        noise = torch.randn(4, 8, 8, generator=generator(3, f"probe {draw}")).numpy()[None]
        x_t = np.sqrt(kept[t]) * x_0.numpy() + np.sqrt(1 - kept[t]) * noise
        norms.append(np.linalg.norm(eps(x_t, t, c) - eps(x_t, t, null)))
        losses.append(np.mean((eps(x_t, t, c) - noise) ** 2))
    assert noise_norm(denoiser, moments[3:4], c, null, row, draws=2).item() == pytest.approx(np.mean(norms), rel=1e-4)
    assert denoising_losses(denoiser, moments[3:4], c, row, draws=2).mean().item() == pytest.approx(
        np.mean(losses), rel=1e-4
    )

    first = eps(x_0.numpy(), 0, c)
    expected = []
    for t in (50, 100, 200, 400):
        x_t = np.sqrt(kept[t]) * x_0.numpy() + np.sqrt(1 - kept[t]) * first
        expected.append(np.sum(np.abs(first - eps(x_t, t, c)) ** 4) ** 0.25)
    assert pia(denoiser, moments[3:4], c)[0].tolist() == pytest.approx(expected, rel=1e-4)

    norms = [np.linalg.norm(eps(x_0.numpy(), t, c)) for t in (25, 50, 100, 200)]
    assert sima(denoiser, moments[3:4], c)[0].tolist() == pytest.approx(norms, rel=1e-4)

    def step(x, start, end):
        e = eps(x, start, c)
        clean = (x - np.sqrt(1 - kept[start]) * e) / np.sqrt(kept[start])
        return np.sqrt(kept[end]) * clean + np.sqrt(1 - kept[end]) * e

    x, expected = x_0.numpy(), []
    for start in range(0, 110, 10):
        forth = step(x, start, start + 10)
        if start in (20, 50, 100):
            expected.append(np.sum((step(forth, start + 10, start) - x) ** 2))
        x = forth
    assert secmi(denoiser, moments[3:4], c)[0].tolist() == pytest.approx(expected, rel=1e-3)
