"""Dropped captions, offset noise and perturbed inputs, by their numbers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from memcontrol.diffusion.noising import drop_captions, noise_latents

SEEDS = torch.arange(600)
SHAPE = (4, 4, 4)
SIGMA = 0.6  # at the only timestep: sqrt(1 - 0.64)


def noised(**options):
    scheduler = DDPMScheduler(trained_betas=[0.36], num_train_timesteps=1)
    moments = torch.randn(len(SEEDS), 1, *SHAPE, generator=torch.Generator().manual_seed(0))
    return noise_latents(scheduler, moments, SEEDS, torch.zeros(len(SEEDS), dtype=torch.long), **options)


def test_noise_offset_is_constant_in_each_channel():
    plain, offset = noised(), noised(noise_offset=0.5)
    added = offset.target - plain.target
    assert added.std(dim=(2, 3)).max() < 1e-6
    constants = added.mean(dim=(2, 3))
    assert constants.std() == pytest.approx(0.5, rel=0.06)
    assert constants.mean() == pytest.approx(0, abs=0.04)
    assert (torch.corrcoef(constants.T) - torch.eye(4)).abs().max() < 0.2  # channels are independent
    assert offset.x_t - plain.x_t == pytest.approx(SIGMA * added, abs=1e-5)


def test_input_perturbation_is_seen_but_not_predicted():
    plain, perturbed = noised(), noised(input_perturbation=0.1)
    assert torch.equal(perturbed.target, plain.target)
    added = perturbed.x_t - plain.x_t
    assert added.std() == pytest.approx(SIGMA * 0.1, rel=0.03)
    assert torch.corrcoef(torch.stack([added.flatten(), plain.target.flatten()]))[0, 1].abs() < 0.03


def dropped(probability, seeds):
    states, null = torch.ones(len(seeds), 3, 2), torch.full((1, 3, 2), 7.0)
    found = drop_captions(states, null, seeds, probability)
    rows = found.flatten(1)
    assert (rows == rows[:, :1]).all()  # a caption goes whole or not at all
    return rows[:, 0] == 7


def test_captions_are_dropped_at_their_share():
    seeds = torch.arange(4000)
    assert not dropped(0.0, seeds).any()
    assert dropped(1.0, seeds).all()
    assert dropped(0.5, seeds).double().mean() == pytest.approx(0.5, abs=0.04)
    assert dropped(0.1, seeds).double().mean() == pytest.approx(0.1, abs=0.025)


def test_captions_are_dropped_by_their_seed():
    seeds = torch.arange(64)
    assert torch.equal(dropped(0.5, seeds.flip(0)), dropped(0.5, seeds).flip(0))
    assert torch.equal(dropped(0.5, seeds[10:20]), dropped(0.5, seeds)[10:20])
