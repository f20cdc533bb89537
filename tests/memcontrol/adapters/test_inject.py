"""Which of what is trained belongs to 1-D weights, which `optimizer.lr_1d` moves."""

from __future__ import annotations

import pytest
from peft import LoraConfig
from torch import nn

from memcontrol.adapters import DiffFitConfig, SelectiveConfig, SVDiffConfig, adapt, resolve_mask


def put(unet, config, slots="transformer", mask="all"):
    return adapt(unet, config, *resolve_mask(unet, slots, mask), allow_empty=True)


def norms(unet, within):
    return {
        f"{name}.svdiff_shift.default"
        for name, module in unet.named_modules()
        if isinstance(module, nn.LayerNorm | nn.GroupNorm) and name.startswith(within)
    }


def test_vectors_are_the_shifts_of_norms(unet):
    slots, _ = resolve_mask(unet, "transformer", "all")
    expected = norms(unet, slots.names)
    adapted = put(unet, SVDiffConfig())
    assert len(expected) == 4 * 16  # a GroupNorm and three LayerNorms each
    assert adapted.vectors() == expected < set(adapted.trainable())


def test_vectors_of_slots_that_are_off_are_not_named(unet):
    expected = norms(unet, "mid_block.attentions.0")
    assert put(unet, SVDiffConfig(), mask="mid_block*").vectors() == expected


@pytest.mark.parametrize("config", [SelectiveConfig(tune="norm"), DiffFitConfig(), LoraConfig(r=2), None])
def test_other_methods_have_none(unet, config):
    assert put(unet, config).vectors() == set()
