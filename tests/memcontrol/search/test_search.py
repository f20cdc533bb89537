"""Studies through the command line: what was paid for is never lost, and nothing is trained twice."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from pandas.testing import assert_frame_equal

from memcontrol.callbacks import RewardsCallback
from memcontrol.cli import main
from memcontrol.files.journal import Journal
from memcontrol.pipeline import load_pipeline
from memcontrol.search.records import TrialState
from tests.conf import short_run, wait_for
from tests.memcontrol.search.conf import KEEP, SCORING, arguments, inline_workers, trials


@pytest.fixture(scope="module", autouse=True)
def workers():
    """The studies of this file train in this process; what becomes of workers is asked in `test_failures`."""
    with inline_workers():
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory, workers):
    folder = tmp_path_factory.mktemp("study")
    main(arguments(folder, 3, "--search.rescore_factor=2"))
    return folder


def test_study_is_complete(study):
    found = trials(study)
    assert [t.state for t in found] == [TrialState.COMPLETE] * 3
    assert [sum(t.mask) for t in found[:2]] == [13, 0]  # the initial design
    assert all([p.step for p in t.points] == [1, 2] for t in found)
    front = pd.read_csv(study / "study" / "pareto.csv")
    assert front["rescored"].all()
    assert (front["noise_norm_low"] <= front["noise_norm"]).all()
    assert "on the front (knee)" in (study / "study" / "report.html").read_text()


def test_trials_that_have_ended_keep_no_optimizer(study):
    for trial in (study / "study" / "trials").iterdir():
        (kept,) = (trial / "checkpoints").glob("*.ckpt")
        assert torch.load(kept, map_location="cpu", weights_only=True)["optimizer_states"] == []
        assert load_pipeline(trial).unet is not None


def test_overlay_is_what_the_trial_was(study, tmp_path):
    overlay = yaml.safe_load((study / "study" / "best.yaml").read_text())
    front = pd.read_csv(study / "study" / "pareto.csv")
    row = front[front["mask"] == f"bits:{''.join(map(str, overlay['model']['mask']))}"].iloc[0]
    assert overlay["model"]["optimizer"]["lr"] == pytest.approx(row["model.optimizer.lr"])
    cli = main([*short_run(tmp_path, f"--config={study / 'study' / 'best.yaml'}"), "--trainer.max_steps=1"])
    assert list(cli.model.mask.bits) == overlay["model"]["mask"]


@pytest.mark.whole
def test_prolonging_trains_nothing_again(study):
    before = trials(study)
    main(arguments(study, 4))
    after = trials(study)
    assert after[:3] == before
    assert len(after) == 4
    assert len({t.digest for t in after}) == 4


def scores_of(folder):
    """Return the scores of `steps`, one measure of one model per row."""
    events = Journal(folder / "scores.jsonl").events()
    rows = [{k: e[k] for k in ("model", "steps", "pictures")} | {"measure": m, "value": v}
            for e in events for m, v in e["values"].items()]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.whole
def test_fewer_sampler_steps_are_compared(study, tmp_path):
    main(arguments(study, 4))
    data = [a for a in arguments(study) if a.startswith(("--config", "demo.yaml", "--data."))]
    args = [
        "steps", *data, f"--ckpt_path=[{study / 'study'}]", f"--output={tmp_path}", "--reference=2",
        "--sampler_steps=[1]", "--scoring.num_images=8",
        "--scoring.encoder=memcontrol.measures.encoders.PhantomEncoder",
    ]  # fmt: skip
    main(args)
    scores, found = scores_of(tmp_path), pd.read_csv(tmp_path / "agreement.csv")
    assert set(zip(scores["steps"], scores["pictures"], strict=True)) == {
        (1, "first"), (2, "first"), (2, "again")
    }  # fmt: skip
    assert scores["model"].nunique() == 4
    kid = found[found["measure"] == "kid"].set_index("steps")
    assert list(kid.index) == [1, 2]
    wide = scores[scores["measure"] == "kid"].pivot(index="model", columns=["steps", "pictures"], values="value")
    assert kid["rho"][1] == pytest.approx(wide[(1, "first")].corr(wide[(2, "first")], method="spearman"))
    assert (tmp_path / "agreement.png").stat().st_size > 1000
    journal = tmp_path / "scores.jsonl"
    whole = journal.read_bytes()
    main(args)
    assert journal.read_bytes() == whole
    journal.write_bytes(whole[:-20])  # torn by a kill
    main(args)
    assert_frame_equal(scores_of(tmp_path), scores)
    assert {"kid", "kid_decoded"} <= set(found["measure"])
    assert not any(name.startswith("membership") for name in found["measure"])
    main([*args, "--guidance_scale=1"])  # the fewer steps are drawn anew, the reference is not
    more = scores_of(tmp_path).iloc[len(scores) :]
    assert set(zip(more["steps"], more["pictures"], strict=True)) == {(1, "first")}
    before = scores[(scores["steps"] == 1) & (scores["measure"] == "kid")]["value"]
    assert (more[more["measure"] == "kid"]["value"].to_numpy() != before.to_numpy()).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sampler_steps=[5,5]"], r"must be different numbers of at least 1, but got \[5, 5\] and 50"),
        (["--ckpt_path=[nowhere]"], "'nowhere' does not exist"),
    ],
)
def test_a_comparison_of_steps_that_cannot_be_is_refused(study, tmp_path, capsys, options, said):
    with pytest.raises(SystemExit):
        main(["steps", "--config", "demo.yaml", f"--ckpt_path=[{study / 'study'}]", f"--output={tmp_path}", *options])
    assert re.search(said, capsys.readouterr().err)


def test_another_config_is_refused(study, capsys):
    with pytest.raises(SystemExit):
        main(arguments(study, 4, "--model.snr_gamma=3"))
    printed = capsys.readouterr().err
    assert "snr_gamma" in printed
    assert "has another config" in printed


def test_second_controller_is_refused(study, capsys):
    with Journal(study / "study" / "journal.jsonl").writing(), pytest.raises(SystemExit):
        main(arguments(study, 4))
    assert "being run by another process" in capsys.readouterr().err


@pytest.mark.whole
def test_a_tracked_study_sends_numbers_only(tmp_path, monkeypatch):
    folder = tmp_path / "canarypath"
    folder.mkdir()
    monkeypatch.setattr("sys.argv", ["train.py", "canaryargv"])
    boom = "{class_path: tests.killer.RaisesFor, init_args: {mask_sum: 0}}"
    args = [a for a in arguments(folder, 2, "--search.wandb=memcontrol") if not a.startswith("--trainer.callbacks")]
    main([*args, "--trust-config", f"--trainer.callbacks=[{boom},{SCORING},{KEEP}]"])
    wait_for(folder / "study", b"reward/memorization")
    recorded = list((folder / "study").rglob("*.wandb"))
    assert len(recorded) >= 2
    files = [p for p in (folder / "study" / "wandb").rglob("*") if p.is_file()]
    contents = b"".join(p.read_bytes() for p in files if not p.name.startswith("debug"))
    for canary in (b"canarypath", b"canaryargv", b"planted", b"radiograph", b"phantom:"):
        assert canary not in contents, canary
    assert b"reward/memorization" in contents
    assert not [p for p in files if p.suffix in (".png", ".jpg")]


@pytest.mark.whole
def test_a_sweep_agent_s_arguments_run(tmp_path, monkeypatch):
    """The command of configs/sweep.yaml, filled in as an agent does; no server is asked."""
    sweep = yaml.safe_load(Path("configs/sweep.yaml").read_text())
    chosen = {"model.mask": sweep["parameters"]["model.mask"]["values"][3], "model.optimizer.lr": 0.0043}
    chosen["trainer.callbacks.weight"] = sweep["parameters"]["trainer.callbacks.weight"]["value"]
    filled = [f"--{key}={value}" for key, value in chosen.items()]
    assert sweep["command"][:2] == ["${env}", "memcontrol"]  # what an installed package has
    command = [part for item in sweep["command"][2:] for part in (filled if item == "${args}" else [item])]
    monkeypatch.setenv("WANDB_MODE", "offline")
    small = [a for a in short_run(tmp_path)[3:] if "callbacks" not in a]
    monkeypatch.chdir(tmp_path)  # runs/ of whoever runs the tests stays theirs
    scored = ["--trainer.callbacks.scoring.num_images=8", "--trainer.callbacks.scoring.draws=1"]
    cli = main([*command, *small, *scored, "--trainer.max_steps=2", "--trainer.val_check_interval=2"])
    logged = cli.trainer.callback_metrics
    assert sweep["metric"] == {"name": "reward/both", "goal": "maximize"}
    scorer = next(c for c in cli.trainer.callbacks if isinstance(c, RewardsCallback))
    base = {m.name: m.reward_of_null for m in scorer.measurements}
    pairs = [("quality", base[scorer.quality]), ("memorization", base[scorer.memorization])]
    gains = [(float(logged[f"reward/{group}"]) - null) / abs(null) for group, null in pairs]
    assert float(logged["reward/both"]) == pytest.approx(sum(gains) / 2, abs=1e-5)
    assert f"bits:{cli.model.mask.bit_string}" == chosen["model.mask"]
    assert cli.model.optimizer_options.lr == 0.0043


@pytest.mark.whole
def test_trial_on_two_devices_scores_as_on_one(study, tmp_path):
    main(arguments(tmp_path, 1, "--data.batch_size=4", "--search.devices_per_trial=2"))
    alone, (together,) = trials(study)[0], trials(tmp_path)
    log = (tmp_path / "study" / "trials" / "trial-0000" / "trial.log").read_text()
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in log
    assert together.digest == alone.digest
    assert [p.step for p in together.points] == [p.step for p in alone.points] == [1, 2]
    for mine, other in zip(together.points, alone.points, strict=True):
        np.testing.assert_allclose(mine.rewards, other.rewards, rtol=1e-3)
    assert set(together.seconds) == set(alone.seconds)
