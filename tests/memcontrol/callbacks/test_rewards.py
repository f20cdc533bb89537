"""The rewards callback sees everything and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from memcontrol.cli import main
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from tests.conf import short_run

REWARDS = (
    "{class_path: callbacks.RewardsCallback, init_args: {memorization: noise_norm, scoring: {num_images: 9, "
    "num_probes: 13, draws: 2, encoder: {class_path: memcontrol.measures.encoders.ThumbnailEncoder}}, "
    "metrics: [{name: tv, metric: {class_path: torchmetrics.image.TotalVariation}, higher_is_better: false}, "
    "{name: leaked_tv, group: memorization, metric: {class_path: torchmetrics.image.TotalVariation}, "
    "higher_is_better: false}]}}"
)
FEW_REWARDS = REWARDS.replace("num_images", "measures: [noise_norm, heldout_loss, kid], num_images", 1)
GRID = "{class_path: callbacks.SampleGridCallback, init_args: {num_images: 2}}"
PARETO = "{class_path: callbacks.ParetoCheckpoint}"
BASE = "{class_path: callbacks.AdapterCheckpoint, init_args: {every_n_train_steps: 2}}"


def scored_run(folder, *callbacks, extra=()):
    args = [a for a in short_run(folder) if "callbacks" not in a]
    return [*args, f"--trainer.callbacks=[{','.join([*callbacks, BASE])}]", *extra]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    main(scored_run(folder, REWARDS, PARETO))
    return folder / "demo" / "version_0"


def points(run):
    return [json.loads(line) for line in (run / "rewards.jsonl").read_text().splitlines()]


def test_every_validation_is_a_point(run):
    assert [p["step"] for p in points(run)] == [0, 3, 6]
    measures = {m["name"]: m for m in points(run)[-1]["measures"]}
    assert measures["kid"]["value"]["low"] <= measures["kid"]["value"]["value"] <= measures["kid"]["value"]["high"]
    assert measures["tv"]["value"]["value"] > 0
    assert measures["leaked_tv"]["group"] == "memorization"
    assert measures["leaked_tv"]["value"]["value"] != measures["tv"]["value"]["value"]
    assert measures["membership_tpr_01"]["value"] is None
    assert list((run / "pareto").glob("*.ckpt"))


def test_training_is_the_same_without_it(run, tmp_path):
    main(scored_run(tmp_path))
    _, expected = read_checkpoint(find_checkpoint(tmp_path / "demo" / "version_0"))
    _, found = read_checkpoint(find_checkpoint(run))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.whole
def test_scales_are_points_of_their_own_and_disturb_nothing(run, tmp_path):
    main(scored_run(tmp_path, FEW_REWARDS.replace("init_args: {", "init_args: {scales: [0.0, 0.5], ", 1), PARETO))
    found = points(tmp_path / "demo" / "version_0")
    assert [(p["step"], p.get("scale", 1.0)) for p in found] == [
        (0, 1.0), (3, 0.0), (3, 0.5), (3, 1.0), (6, 0.0), (6, 0.5), (6, 1.0)
    ]  # fmt: skip
    values = [{m["name"]: m["value"]["value"] for m in p["measures"] if m["value"]} for p in found]
    assert values[4]["heldout_loss"] == pytest.approx(values[0]["heldout_loss"], rel=1e-4)  # all the way back
    assert values[5]["heldout_loss"] != pytest.approx(values[6]["heldout_loss"], rel=1e-5)
    _, expected = read_checkpoint(find_checkpoint(run))
    _, weights = read_checkpoint(find_checkpoint(tmp_path / "demo" / "version_0"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    front = json.loads((tmp_path / "demo" / "version_0" / "pareto" / "front.json").read_text())
    assert {p.name for p in (tmp_path / "demo" / "version_0" / "pareto").glob("*.ckpt")} == {
        f"step-{point['step']:07d}.ckpt" for point in front
    }


def losses(run, name):
    return pd.read_csv(run / "metrics.csv")[name].dropna().to_numpy()


@pytest.mark.whole
def test_two_processes_train_and_score_as_one(run, tmp_path):
    args = scored_run(
        tmp_path, FEW_REWARDS, GRID, extra=("--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=4")
    )
    subprocess.run([sys.executable, "train.py", *args], check=True, capture_output=True, timeout=300)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["version_0"]
    two = tmp_path / "demo" / "version_0"
    assert len(list((two / "samples").glob("*.png"))) == 2
    for name, count in (("train/loss", 6), ("val/loss", 2)):
        assert len(losses(two, name)) >= count
        np.testing.assert_allclose(losses(two, name), losses(run, name), atol=1e-4)
    alone, together = (
        {m["name"]: m["value"]["value"] for m in points(r)[1]["measures"] if m["value"]} for r in (run, two)
    )
    assert set(together) >= {"noise_norm", "heldout_loss", "kid"}
    for name in ("noise_norm", "heldout_loss"):
        assert together[name] == pytest.approx(alone[name], rel=1e-4), name


def test_a_missing_encoder_is_said_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "memcontrol.diffusion.cached_base.load_components", lambda *_: pytest.fail("the base was loaded")
    )
    encoder = (
        "{class_path: memcontrol.measures.encoders.TimmEncoder, init_args: {model: resnet18, weights: nowhere.pt}}"
    )
    with pytest.raises(SystemExit):
        main(
            scored_run(
                tmp_path, f"{{class_path: callbacks.RewardsCallback, init_args: {{scoring: {{encoder: {encoder}}}}}}}"
            )
        )
    assert "nowhere.pt" in capsys.readouterr().err


def test_unknown_reward_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(scored_run(tmp_path, "{class_path: callbacks.RewardsCallback, init_args: {quality: beauty}}"))
    assert "must be one of" in capsys.readouterr().err
