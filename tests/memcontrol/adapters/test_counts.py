"""The counts of the paper's mask spaces on SD 1.5's U-Net, on the meta device."""

from __future__ import annotations

import pytest

from memcontrol.adapters import DiffFitConfig, SelectiveConfig, SVDiffConfig, adapt, resolve_mask
from memcontrol.cli.commands.slots import count_by_slot, slots_table
from memcontrol.diffusion.bases import build_skeleton


def put(config, slots, mask):
    unet = build_skeleton("sd15")
    layout, parsed = resolve_mask(unet, slots, mask)
    return adapt(unet, config, layout, parsed, allow_empty=True)


@pytest.mark.parametrize(
    ("config", "slots", "on", "off"),
    [
        (SVDiffConfig(), "paper13", 222_805, 125_486),
        (SVDiffConfig(), "paper16", 222_805, 104_101),
        (SVDiffConfig(), "attention", 118_704, 0),
        (DiffFitConfig(), "paper13", 581_124, 468_484),
        (SelectiveConfig(tune="attention"), "paper16", 267_239_360, 173_702_720),
    ],
)
def test_trainable_parameters(config, slots, on, off):
    for mask, expected in (("all", on), ("none", off)):
        adapted = put(config, slots, mask)
        assert sum(p.numel() for p in adapted.trainable().values()) == expected


def test_svdiff_slots():
    counts = count_by_slot(put(SVDiffConfig(), "paper13", "all"), build_skeleton("sd15"))
    assert counts["down_blocks.0.attentions.0"] == 3_203
    assert counts["down_blocks.1.attentions.0"] == 6_403
    assert counts["mid_block.attentions.0"] == 11_779
    assert counts[None] == 125_486


def test_table_prints_total_and_slots():
    table = slots_table(put(SVDiffConfig(), "paper13", "all"), "stable-diffusion-v1-5/stable-diffusion-v1-5")
    assert "222,805 of 859,520,964" in table
    assert "125,486 of 859,520,964" in table
    assert table.count("attentions") == 13


def test_in_parts_every_weight_has_a_slot():
    unet = build_skeleton("sd15")
    adapted = put(SelectiveConfig(tune="full"), "parts", "all")
    assert len(adapted.mask.names) == 24
    assert sum(p.numel() for p in adapted.trainable().values()) == sum(p.numel() for p in unet.parameters())
    assert not put(SelectiveConfig(tune="full"), "parts", "none").trainable()
