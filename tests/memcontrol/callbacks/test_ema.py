"""The average is what is drawn and scored; the weights themselves are what training goes on from."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from memcontrol import MemControlModule, load_pipeline
from memcontrol.callbacks import EMACallback, samples
from memcontrol.cli import main
from memcontrol.files.checkpoints import find_checkpoint
from tests.conf import short_run
from tests.memcontrol.callbacks.test_rewards import FEW_REWARDS, points

EMA = "{class_path: callbacks.EMACallback, init_args: {decay: 0.9}}"
GRID = "{class_path: callbacks.SampleGridCallback, init_args: {num_images: 2}}"
SAVE = "{class_path: callbacks.AdapterCheckpoint, init_args: {every_n_train_steps: 4, save_top_k: -1}}"


def averaged_run(folder, *extra, callbacks=(EMA, SAVE)):
    args = [a for a in short_run(folder, "--model.optimizer.lr=2e-2") if "callbacks" not in a]
    main([*args, f"--trainer.callbacks=[{','.join(callbacks)}]", *extra])
    return max((folder / "demo").iterdir())


def content(run):
    return torch.load(find_checkpoint(run), map_location="cpu", weights_only=True)


@pytest.mark.whole
@pytest.mark.parametrize("order", [(EMA, GRID, SAVE), (GRID, SAVE, EMA)], ids=["first", "last"])
def test_the_grid_shows_the_average_wherever_it_is_listed(tmp_path, monkeypatch, order):
    drawn, sample = [], samples.sample

    def spy(pipeline, *args, **kwargs):
        drawn.append((args, sample(pipeline, *args, **kwargs)))
        return drawn[-1][1]

    monkeypatch.setattr(samples, "sample", spy)
    run = averaged_run(tmp_path, callbacks=order)
    args, grid = drawn[-1]
    for path in (run, run / "adapter"):
        assert (sample(load_pipeline(path), *args, progress=False) - grid).abs().max() < 1e-4

    found = content(run)
    assert any(not torch.equal(v, found["state_dict"][n]) for n, v in found["current_model_state"].items())
    raw = torch.load(find_checkpoint(run), map_location="cpu", weights_only=True)
    raw["state_dict"] = raw["current_model_state"]
    torch.save(raw, tmp_path / "raw.ckpt")
    assert (sample(load_pipeline(tmp_path / "raw.ckpt"), *args, progress=False) - grid).abs().max() > 1e-3


@pytest.mark.whole
def test_some_steps_and_as_many_are_twice_as_many(tmp_path):
    steps, accumulate = 3, 2
    every = [f"--trainer.val_check_interval={steps}", f"--trainer.accumulate_grad_batches={accumulate}"]
    whole = content(averaged_run(tmp_path / "whole", f"--trainer.max_steps={2 * steps}", *every))
    first = averaged_run(tmp_path / "parts", f"--trainer.max_steps={steps}", *every)
    last = averaged_run(tmp_path / "parts", f"--trainer.max_steps={2 * steps}", f"--ckpt_path={first}", *every)
    parts = content(last)
    assert parts["global_step"] == whole["global_step"] == parts["ema_step"] == whole["ema_step"] == 2 * steps
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(parts[key][name], value) for name, value in whole[key].items()), key


@pytest.mark.whole
def test_a_point_that_was_cut_off_is_scored_with_the_average(tmp_path):
    run = averaged_run(tmp_path, callbacks=(EMA, FEW_REWARDS, SAVE))
    expected = points(run)[-1]
    lines = (run / "rewards.jsonl").read_text().splitlines(keepends=True)
    (run / "rewards.jsonl").write_text("".join(lines[:-1]))
    averaged_run(tmp_path, f"--ckpt_path={run}", callbacks=(EMA, FEW_REWARDS, SAVE))
    found = points(run)[-1]
    assert found["step"] == expected["step"] == 6
    for ours, theirs in zip(found["measures"], expected["measures"], strict=True):
        if ours["value"] is not None and ours["name"] in ("noise_norm", "heldout_loss", "kid"):
            assert ours["value"]["value"] == pytest.approx(theirs["value"]["value"], rel=1e-4), ours["name"]


def test_averages_of_half_precision_weights_move():
    """An average in the weights' own precision stays where it is: its steps round to nothing."""
    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    module = MemControlModule()
    module._adapted = SimpleNamespace(trainable=lambda: {"weight": weight})
    callback = EMACallback(decay=0.99)
    callback.average = callback._start(module)
    callback.average.use_ema_warmup = False
    with torch.no_grad():
        weight.fill_(1.1)
    target = float(weight[0])
    for _ in range(300):
        callback.average.step([weight])
    (found,) = callback.average.shadow_params
    assert found.dtype == torch.float32
    assert float(found[0]) == pytest.approx(target + (1 - target) * 0.99**300, abs=0.01)
    callback._swap_in(module)
    assert weight.dtype == torch.bfloat16
    assert float(weight[0]) > 1.05
