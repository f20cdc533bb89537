"""Half of the way back to the base: the same in a run as in what is loaded from it, and taken back bit for bit."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig

from memcontrol.adapters import DiffFitConfig, SelectiveConfig, SVDiffConfig, adapt, resolve_mask
from memcontrol.adapters.inject import base_weights
from memcontrol.diffusion.bases import load_components


@pytest.mark.parametrize("config", [LoraConfig(r=2), SVDiffConfig(), DiffFitConfig(), SelectiveConfig(tune="full")])
def test_weights_are_on_the_line_between_base_and_tuned(config):
    unet = load_components("embedded").unet
    layout, mask = resolve_mask(unet, "parts", "all")
    adapted = adapt(unet, config, layout, mask, seed=0)
    with torch.no_grad():
        for parameter in adapted.trainable().values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))

    def weights():
        return {name: p.detach().clone() for name, p in base_weights(adapted.unet)}

    base = weights()
    with adapted.merged():
        tuned = weights()
    with adapted.merged(0.25):
        part = weights()
    assert any(not torch.equal(base[name], tuned[name]) for name in base)
    for name in base:
        assert torch.allclose(part[name], torch.lerp(base[name], tuned[name], 0.25), atol=1e-6), name
    assert all(torch.equal(value, base[name]) for name, value in weights().items())
