"""Gradients of single images: those that autograd gives, whatever the weights are made from."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig

from memcontrol.adapters import SVDiffConfig, adapt
from memcontrol.adapters.inject import resolve_mask
from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.gradients import gradient_norms
from memcontrol.diffusion.losses import denoising_errors
from memcontrol.diffusion.noising import noise_latents, sample_timesteps
from memcontrol.diffusion.probes import Denoiser


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(3, 1, 4, 8, 8, generator=rng), torch.randn(3, 32, 64, generator=rng), torch.arange(3)


def denoiser_of(parts):
    unet = parts.unet.eval()
    return Denoiser(lambda x, t, c: unet(x, t, c).sample, parts.pipeline().scheduler, unet)


def test_norms_are_those_of_autograd_image_by_image(images):
    moments, states, seeds = images
    denoiser = denoiser_of(load_components("embedded"))
    states = states[..., : denoiser.module.config.cross_attention_dim]
    found = gradient_norms(denoiser, moments, states, seeds, draws=2)
    for row in range(3):
        losses = []
        for part in range(2):
            t = sample_timesteps(seeds[row : row + 1], 1000, part, 2)
            noised = noise_latents(
                denoiser.scheduler, moments[row : row + 1], seeds[row : row + 1], t, stream=f"probe {part}"
            )
            losses.append(denoising_errors(denoiser.unet(noised.x_t, noised.t, states[row : row + 1]), noised.target))
        named = dict(denoiser.module.named_parameters())
        gradients = torch.autograd.grad(torch.cat(losses).mean(), list(named.values()), allow_unused=True)
        squares = {name: g.square().sum() for (name, p), g in zip(named.items(), gradients, strict=True)
                   if g is not None and p.ndim in (2, 4)}  # fmt: skip
        ends = sum(s for name, s in squares.items() if not name.startswith(("down_blocks", "mid_block", "up_blocks")))
        middle = sum(s for name, s in squares.items() if name.startswith("mid_block"))
        assert found[row, 0] == pytest.approx(float(ends.sqrt()), rel=1e-3)
        blocks = len(denoiser.module.down_blocks) + len(denoiser.module.up_blocks) + 2
        assert found.shape == (3, blocks)
        assert found[row].square().sum() == pytest.approx(float(sum(squares.values())), rel=1e-3)
        assert any(value == pytest.approx(float(middle.sqrt()), rel=1e-3) for value in found[row].tolist())


@pytest.mark.parametrize("config", [LoraConfig(r=2, init_lora_weights="gaussian"), SVDiffConfig()])
def test_an_adapter_in_place_and_a_merged_one_give_the_same(images, config):
    moments, states, seeds = images
    parts = load_components("embedded")
    layout, mask = resolve_mask(parts.unet, "all", "all")
    adapted = adapt(parts.unet, config, layout, mask, seed=0)
    with torch.no_grad():
        for parameter in adapted.trainable().values():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    denoiser = denoiser_of(parts)
    states = states[..., : parts.unet.config.cross_attention_dim]
    with torch.inference_mode():  # as Lightning validates
        apart = gradient_norms(denoiser, moments, states, seeds, draws=2)
    adapted.merge_and_eject()
    assert torch.allclose(gradient_norms(denoiser_of(parts), moments, states, seeds, draws=2), apart, rtol=2e-3)
