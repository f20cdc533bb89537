"""Channels of a LoRA that lie across the base's principal directions are dropped after the last step."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from memcontrol.cli import main
from memcontrol.errors import AdapterError, MemControlError
from memcontrol.files.checkpoints import read_checkpoint
from memcontrol.measures.score_log import read_scores
from memcontrol.mitigation import BaseAnchoredFilter
from tests.conf import short_run

LORA = "--model.adapter={class_path: peft.LoraConfig, init_args: {r: 4}}"


def adapted(layer, up, down):
    """Return a layer under a LoRA with these factors."""
    model = get_peft_model(nn.ModuleDict({"layer": layer}), LoraConfig(r=up.shape[1], target_modules=["layer"]))
    found = model.base_model.model["layer"]
    with torch.no_grad():
        found.lora_B["default"].weight.copy_(up.view_as(found.lora_B["default"].weight))
        found.lora_A["default"].weight.copy_(down.view_as(found.lora_A["default"].weight))
    return found


def product(layer):
    return layer.lora_B["default"].weight.flatten(1) @ layer.lora_A["default"].weight.flatten(1)


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_channel_across_the_base_goes_and_the_one_along_it_stays(kind):
    torch.manual_seed(0)
    layer = nn.Linear(12, 8, bias=False) if kind == "linear" else nn.Conv2d(3, 8, 2, bias=False)
    left, right = torch.eye(8)[:, :2], torch.eye(12)[:2]
    with torch.no_grad():  # a base of two directions
        layer.weight.copy_((left @ torch.diag(torch.tensor([3.0, 2.0])) @ right).view_as(layer.weight))
    along, across = torch.outer(left[:, 0], right[1]), torch.outer(torch.eye(8)[:, 5], torch.eye(12)[7])
    up = torch.stack([0.7 * left[:, 0] + torch.eye(8)[:, 5], left[:, 0]], dim=1)
    down = torch.stack([torch.eye(12)[7], 0.5 * right[1] - 0.7 * torch.eye(12)[7]])  # mixed: no channel is one of both
    before = up @ down
    torch.testing.assert_close(before, 0.5 * along + across, atol=1e-6, rtol=0)
    found = adapted(layer, up, down)
    BaseAnchoredFilter(share=0.0).finish(nn.ModuleList([found]))
    torch.testing.assert_close(product(found), before, atol=1e-6, rtol=0)
    BaseAnchoredFilter(share=0.5).finish(nn.ModuleList([found]))
    torch.testing.assert_close(product(found), 0.5 * along, atol=1e-6, rtol=0)  # though the other was twice as large


@pytest.mark.parametrize("shape", [(4, 12), (12, 4)])
def test_a_rank_above_that_of_the_layer_leaves_channels_empty(shape):
    torch.manual_seed(0)
    rows, columns = shape
    found = adapted(nn.Linear(columns, rows, bias=False), torch.randn(rows, 8), torch.randn(8, columns))
    before = product(found)
    BaseAnchoredFilter(share=0.0).finish(nn.ModuleList([found]))
    torch.testing.assert_close(product(found), before, atol=1e-5, rtol=0)
    BaseAnchoredFilter(share=0.5).finish(nn.ModuleList([found]))
    assert torch.linalg.matrix_rank(product(found)) == 2


def test_random_channels_are_as_well_aligned_as_chance_in_layers_of_all_shapes():
    torch.manual_seed(0)
    for rows, columns in ((64, 64), (16, 256), (256, 32)):
        found = adapted(nn.Linear(columns, rows, bias=False), torch.randn(rows, 8), torch.randn(8, columns))
        channels = torch.linalg.svd(product(found).double(), full_matrices=False)
        mean = BaseAnchoredFilter()._alignment(found, channels[0][:, :8], channels[2][:8]).mean()
        assert 0.8 < mean.item() < 1.25


@pytest.mark.parametrize("options", [{"share": 1.0}, {"share": -0.1}, {"energy": 0.0}])
def test_impossible_numbers_are_refused(options):
    with pytest.raises(MemControlError, match=f"BaseAnchoredFilter.{next(iter(options))}"):
        BaseAnchoredFilter(**options)


@pytest.mark.whole
def test_the_checkpoint_of_the_last_step_lacks_channels_and_earlier_ones_do_not(tmp_path):
    option = "--model.mitigations=[{class_path: BaseAnchoredFilter, init_args: {share: 0.5}}]"
    kept = "{every_n_train_steps: 2, save_top_k: -1}"
    keep = f"--trainer.callbacks=[{{class_path: callbacks.AdapterCheckpoint, init_args: {kept}}}]"
    main(short_run(tmp_path, "--trainer.max_steps=4", LORA, option, keep))
    full = {}
    for step in (2, 4):
        weights = read_checkpoint(next(tmp_path.rglob(f"step-000000{step}.ckpt")))[1]
        ups = {name: w.flatten(1) for name, w in weights.items() if ".lora_B." in name}
        downs = [weights[name.replace("lora_B", "lora_A")].flatten(1) for name in ups]
        changes = [up @ down for up, down in zip(ups.values(), downs, strict=True)]
        full[step] = sum(int(torch.linalg.matrix_rank(change, rtol=1e-4)) for change in changes)
    assert full[4] == pytest.approx(full[2] / 2, abs=len(ups) / 10)


def test_only_the_last_step_is_scored_since_earlier_weights_belong_to_no_run(tmp_path):
    scoring = "{measures: [heldout_loss, kid], num_images: 8, num_probes: 0, draws: 1, sampling: {steps: 1}}"
    reward = f"{{class_path: callbacks.RewardsCallback, init_args: {{memorization: heldout_loss, scoring: {scoring}}}}}"
    option = "--model.mitigations=[{class_path: BaseAnchoredFilter}]"
    main(
        short_run(
            tmp_path,
            "--trainer.max_steps=4",
            "--trainer.val_check_interval=2",
            LORA,
            option,
            f"--trainer.callbacks+={reward}",
        )
    )
    assert {point.step for point in read_scores(tmp_path / "demo" / "version_0")} - {0} == {4}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--trainer.max_steps=40", "--trainer.max_epochs=1", LORA], "ends the training after 4"),
        (["--trainer.max_steps=-1", "--trainer.max_epochs=1", LORA], "needs `trainer.max_steps`"),
        (["--trainer.max_steps=1"], "peft.LoraConfig"),
    ],
)
def test_what_it_cannot_work_on_is_refused(tmp_path, capsys, more, words):
    with pytest.raises((SystemExit, AdapterError)):
        main(short_run(tmp_path, *more, "--model.mitigations=[{class_path: BaseAnchoredFilter}]"))
    assert words in capsys.readouterr().err
