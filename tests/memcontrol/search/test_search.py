"""Studies through the command line: what was paid for is never lost, and nothing is trained twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from memcontrol.cli import main
from memcontrol.errors import SearchError
from memcontrol.search.journal import Journal
from memcontrol.search.records import TrialState
from tests.conf import short_run, wait_for

SCORING = (
    "{class_path: callbacks.RewardsCallback, init_args: {memorization: noise_norm, quality: kid, scoring: "
    "{num_images: 8, num_probes: 8, draws: 1, attacks: false, sampling: {steps: 1}, encoder: {class_path: "
    "memcontrol.rewards.encoders.PhantomEncoder}}}}"
)
KEEP = (
    "{class_path: callbacks.ParetoCheckpoint},"
    "{class_path: callbacks.AdapterCheckpoint, init_args: {every_n_train_steps: 1}}"
)


def arguments(folder, trials=3, *extra):
    args = [a for a in short_run(folder) if "callbacks" not in a and "logger" not in a][1:]
    return [
        "search", *args, "--trainer.max_steps=2", "--trainer.val_check_interval=1",
        f"--search.study={folder / 'study'}",
        f"--trainer.callbacks=[{SCORING},{KEEP}]", f"--search.trials={trials}", "--search.workers=1",
        "--search.objectives=[noise_norm,kid]", "--search.rescore_factor=0", "--search.threads=1", *extra,
    ]  # fmt: skip


def trials(folder):
    return Journal(folder / "study" / "journal.jsonl").trials()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    main(arguments(folder, 3, "--search.rescore_factor=2"))
    return folder


def test_study_is_complete(study):
    found = trials(study)
    assert [t.state for t in found] == [TrialState.COMPLETE] * 3
    assert [sum(t.mask) for t in found[:2]] == [13, 0]  # the anchors
    assert all([p.step for p in t.points] == [1, 2] for t in found)
    front = pd.read_csv(study / "study" / "pareto.csv")
    assert front["rescored"].all()
    assert (front["noise_norm_low"] <= front["noise_norm"]).all()
    assert "Picked (knee)" in (study / "study" / "report.html").read_text()


def test_overlay_is_what_the_trial_was(study, tmp_path):
    overlay = yaml.safe_load((study / "study" / "best.yaml").read_text())
    front = pd.read_csv(study / "study" / "pareto.csv")
    row = front[front["mask"] == f"bits:{''.join(map(str, overlay['model']['mask']))}"].iloc[0]
    assert overlay["model"]["optimizer"]["lr"] == pytest.approx(row["model.optimizer.lr"])
    cli = main([*short_run(tmp_path, f"--config={study / 'study' / 'best.yaml'}"), "--trainer.max_steps=1"])
    assert list(cli.model.mask.bits) == overlay["model"]["mask"]


def test_prolonging_trains_nothing_again(study):
    before = trials(study)
    main(arguments(study, 4))
    after = trials(study)
    assert after[:3] == before
    assert len(after) == 4
    assert len({t.digest for t in after}) == 4


def test_fewer_sampler_steps_are_compared(study, tmp_path):
    main(arguments(study, 4))
    data = [a for a in arguments(study) if a.startswith(("--config", "demo.yaml", "--data."))]
    args = [
        "steps", *data, f"--ckpt_path=[{study / 'study'}]", f"--output={tmp_path}", "--reference=2",
        "--sampler_steps=[1]", "--scoring.num_images=8",
        "--scoring.encoder=memcontrol.rewards.encoders.PhantomEncoder",
    ]  # fmt: skip
    main(args)
    scores, found = pd.read_csv(tmp_path / "scores.csv"), pd.read_csv(tmp_path / "agreement.csv")
    assert set(zip(scores["steps"], scores["pictures"], strict=True)) == {
        (1, "first"), (2, "first"), (2, "again")
    }  # fmt: skip
    assert scores["model"].nunique() == 4
    kid = found[found["measure"] == "kid"].set_index("steps")
    assert list(kid.index) == [1, 2]
    wide = scores[scores["measure"] == "kid"].pivot(index="model", columns=["steps", "pictures"], values="value")
    assert kid["rho"][1] == pytest.approx(wide[(1, "first")].corr(wide[(2, "first")], method="spearman"))
    assert (tmp_path / "agreement.png").stat().st_size > 1000
    before = (tmp_path / "scores.csv").stat().st_mtime_ns
    main(args)
    assert (tmp_path / "scores.csv").stat().st_mtime_ns == before


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


def test_failing_trials_are_recorded_and_the_study_goes_on(tmp_path):
    boom = "{class_path: tests.killer.RaisesFor, init_args: {mask_sum: 13}}"
    args = [a for a in arguments(tmp_path, 2) if not a.startswith("--trainer.callbacks")]
    main([*args, "--trust-config", f"--trainer.callbacks=[{boom},{SCORING},{KEEP}]"])
    found = trials(tmp_path)
    assert [t.state for t in found] == [TrialState.FAILED, TrialState.COMPLETE]
    assert "RuntimeError: planted" in found[0].error
    events = pd.read_json(tmp_path / "study" / "journal.jsonl", lines=True)
    assert set(events["event"]) >= {"ask", "finish"}


def start(folder, count):
    args = [sys.executable, "train.py", *arguments(folder, count)]
    return subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [int(p) for p in found] + [c for p in found for c in children(int(p))]


def killed_study(folder, count, kills, rng):
    """Run a study, killing controller, workers, or both, at random moments."""
    for number in range(kills):
        process = start(folder, count)
        time.sleep(rng.uniform(8, 20))
        victims = {0: [process.pid], 1: children(process.pid)[-1:], 2: [process.pid, *children(process.pid)]}[
            number % 3
        ]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if number % 3 == 1:
            time.sleep(rng.uniform(2, 8))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert start(folder, count).wait() == 0


@pytest.mark.parametrize(("count", "kills"), [(3, 2), pytest.param(12, 10, marks=pytest.mark.slow)])
def test_killed_study_ends_as_an_undisturbed_one(tmp_path, count, kills):
    killed_study(tmp_path / "killed", count, kills, random.Random(0))
    found = trials(tmp_path / "killed")
    assert [t.state for t in found] == [TrialState.COMPLETE] * count
    assert [t.number for t in found] == list(range(count))
    events = Counter(e["event"] for e in Journal(tmp_path / "killed" / "study" / "journal.jsonl").events())
    assert events["finish"] == events["ask"] == count
    main(arguments(tmp_path / "calm", count))
    calm = trials(tmp_path / "calm")
    assert [t.digest for t in found] == [t.digest for t in calm]
    assert json.dumps([t.points[-1].rewards for t in found]) == json.dumps([t.points[-1].rewards for t in calm])


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


def test_a_sweep_agent_s_arguments_run(tmp_path, monkeypatch):
    """The command of configs/sweep.yaml, filled in as an agent does; no server is asked."""
    sweep = yaml.safe_load(Path("configs/sweep.yaml").read_text())
    chosen = {"model.mask": sweep["parameters"]["model.mask"]["values"][3], "model.optimizer.lr": 0.0043}
    filled = [f"--{key}={value}" for key, value in chosen.items()]
    command = [part for item in sweep["command"][3:] for part in (filled if item == "${args}" else [item])]
    monkeypatch.setenv("WANDB_MODE", "offline")
    small = [a for a in short_run(tmp_path)[3:] if "callbacks" not in a]
    cli = main([*command, *small, "--trainer.max_steps=1", "--trainer.limit_val_batches=0"])
    assert f"bits:{cli.model.mask.bit_string}" == chosen["model.mask"]
    assert cli.model.optimizer_options.lr == 0.0043


def test_each_failure_has_a_clear_text(tmp_path):
    planted = "{class_path: tests.killer.Planted}"
    args = [a for a in arguments(tmp_path, 5) if not a.startswith("--trainer.callbacks")]
    main([*args, "--trust-config", f"--trainer.callbacks=[{planted},{SCORING},{KEEP}]"])
    nan, memory, exits, reward, fine = trials(tmp_path)
    assert [t.state for t in (nan, exits, reward)] == [TrialState.FAILED] * 3
    assert "diverged" in nan.error
    assert "terminated abruptly" in exits.error
    assert exits.attempts == 2
    assert "reward raises (planted)" in reward.error
    assert [t.state for t in (memory, fine)] == [TrialState.COMPLETE] * 2
    assert memory.attempts == 2
    assert "accumulate_grad_batches: 2" in (tmp_path / "study" / "trials" / "trial-0001" / "overlay.yaml").read_text()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of eight MiB with little room; gone with the test."""
    disk = tmp_path / "study"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a small disk")
    (disk / "filler").write_bytes(bytes(8_200_000))
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_a_full_disk_fails_the_trial_and_keeps_the_journal(tmp_path, small_disk):
    main(arguments(tmp_path, 1))
    (first,) = trials(tmp_path)
    assert first.state == TrialState.FAILED
    assert "No space left on device" in first.error
    (small_disk / "filler").unlink()
    main(arguments(tmp_path, 2))
    assert [t.state for t in trials(tmp_path)] == [TrialState.FAILED, TrialState.COMPLETE]


def test_a_journal_that_cannot_be_written_stays_whole(tmp_path, small_disk):
    journal = Journal(small_disk / "journal.jsonl")
    journal.append("open", text="whole")
    (small_disk / "rest").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    with pytest.raises(SearchError, match="Make room"):
        journal.append("event", text="x" * 8000)
    (small_disk / "filler").unlink()
    journal.append("close")
    assert [e["event"] for e in journal.events()] == ["open", "close"]


def test_a_kill_between_checkpoint_and_score_loses_no_point(tmp_path):
    """The last score is taken away, as if the run had been killed after its last checkpoint."""
    args = arguments(tmp_path)
    own = [a for a in args[1:] if not a.startswith("--search")]
    logger = f"--trainer.logger.save_dir={tmp_path}"
    main(["fit", *own, logger])
    run = tmp_path / "demo" / "version_0"
    lines = (run / "rewards.jsonl").read_text().splitlines()
    expected = [json.loads(line) for line in lines]
    (run / "rewards.jsonl").write_text("".join(line + "\n" for line in lines[:2]))
    main(["fit", *own, logger, f"--ckpt_path={run}"])
    found = {json.loads(line)["step"]: json.loads(line) for line in (run / "rewards.jsonl").read_text().splitlines()}
    last = {m["name"]: m["value"] for m in expected[-1]["measures"]}
    assert {m["name"]: m["value"] for m in found[2]["measures"]} == last
