"""PEFT's `rank_pattern` gives parts of a U-Net ranks of their own, and a rank of 0 switches one off."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig

from memcontrol import load_pipeline
from memcontrol.adapters import adapt, resolve_mask
from memcontrol.adapters.configs import named_by
from memcontrol.cli import main
from memcontrol.diffusion.bases import build_skeleton
from memcontrol.errors import AdapterError
from memcontrol.files.checkpoints import read_checkpoint
from tests.conf import short_run

PATTERN = {r"down_blocks\..*": 0, r"up_blocks\..*": 8, "to_q": 2}


def ranks(pattern):
    unet = build_skeleton("embedded")
    layout, mask = resolve_mask(unet, "parts", "all")
    adapted = adapt(unet, LoraConfig(r=4, rank_pattern=pattern), layout, mask)
    return {name.split(".lora_A")[0]: p.shape[0] for name, p in adapted.trainable().items() if ".lora_A." in name}


def test_the_first_pattern_that_matches_counts():
    plain, found = ranks({}), ranks(PATTERN)
    assert set(plain.values()) == {4}
    off = {name for name in plain if name.startswith("down_blocks.")}
    assert off
    assert set(found) == set(plain) - off
    assert {r for name, r in found.items() if name.startswith("up_blocks.")} == {8}
    middle = {name: r for name, r in found.items() if name.startswith("mid_block.")}
    assert {r for name, r in middle.items() if name.endswith("to_q")} == {2}
    assert {r for name, r in middle.items() if not name.endswith("to_q")} == {4}


def test_a_whole_u_net_of_rank_0_is_refused():
    with pytest.raises(Exception, match="frees nothing"):
        ranks({".*": 0})


@pytest.mark.parametrize("pattern", [{"(a|aa)+[bc]": 2}, {"(": 1}])
def test_patterns_that_cannot_be_compared_are_refused(pattern):
    with pytest.raises(AdapterError, match="Write the names out"):
        named_by(pattern, ["a" * 200])


@pytest.mark.whole
def test_ranks_survive_checkpoint_adapter_and_pipeline(tmp_path):
    adapter = {"class_path": "peft.LoraConfig", "init_args": {"r": 4, "rank_pattern": PATTERN}}
    main(short_run(tmp_path, "--trainer.max_steps=2", "--model.slots=parts", f"--model.adapter={json.dumps(adapter)}"))
    run = tmp_path / "demo" / "version_0"
    card, weights = read_checkpoint(next((run / "checkpoints").glob("step-*.ckpt")))
    assert card.adapter["rank_pattern"] == PATTERN
    assert not any(name.startswith("down_blocks.") for name in weights)
    parts = [load_pipeline(run).unet, load_pipeline(run / "adapter").unet]
    first, second = (dict(unet.named_parameters()) for unet in parts)
    assert all(torch.equal(first[name], second[name]) for name in first)
