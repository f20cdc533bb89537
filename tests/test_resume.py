"""What a resumed run is: the same run, which says what has changed and refuses what cannot."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import wandb
import yaml

from memcontrol.cli import main
from memcontrol.cli.identity import identified
from memcontrol.files.checkpoints import drop_optimizer, find_checkpoint
from tests.conf import short_run

EMA = "--trainer.callbacks+={class_path: callbacks.EMACallback, init_args: {decay: 0.9}}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resumed")
    main(short_run(folder, "--trainer.max_steps=2", "--trainer.val_check_interval=2"))
    return folder


def go_on(run, tmp_path, *extra):
    """Go on with a copy of the run's checkpoint in a run of its own."""
    ckpt = tmp_path / "kept.ckpt"
    ckpt.write_bytes(find_checkpoint(run / "demo" / "version_0").read_bytes())
    args = [a for a in short_run(tmp_path) if not a.startswith("--data.cache")]
    main([*args, f"--data.cache.folder={run / 'cache'}", f"--ckpt_path={ckpt}", "--trainer.max_steps=3", *extra])
    return torch.load(find_checkpoint(tmp_path / "demo" / "version_0"), map_location="cpu", weights_only=True)


@pytest.mark.whole
def test_it_trains_on_at_the_rates_of_its_config(run, tmp_path, caplog):
    options = ["--model.optimizer.lr=1e-6", "--model.optimizer.weight_decay=0.5", "--model.optimizer.betas=[0.8,0.9]"]
    with caplog.at_level(logging.WARNING, "memcontrol"):
        found = go_on(run, tmp_path, *options)
    group, vectors = found["optimizer_states"][0]["param_groups"]
    assert (group["lr"], group["weight_decay"], tuple(group["betas"])) == (1e-6, 0.5, (0.8, 0.9))
    assert found["lr_schedulers"][0]["base_lrs"] == [1e-6, 1e-6]
    assert vectors["lr"] == 1e-6
    before = torch.load(find_checkpoint(run / "demo" / "version_0"), map_location="cpu", weights_only=True)
    moved = max(float((found["state_dict"][n] - v).abs().max()) for n, v in before["state_dict"].items())
    assert moved < 1e-5  # at the old rate of 5e-3, one step moves weights by about as much
    assert "goes on with `model.optimizer.lr` 1e-06 instead of 0.005" in caplog.text
    assert "`model.optimizer.weight_decay` 0.5 instead of 0.01" in caplog.text


def test_a_new_schedule_goes_on_from_the_present_step(run, tmp_path):
    found = go_on(run, tmp_path, "--model.optimizer.schedule=linear", "--model.optimizer.lr=3e-3")
    group, vectors = found["optimizer_states"][0]["param_groups"]
    assert group["initial_lr"] == vectors["initial_lr"] == 3e-3
    assert group["lr"] == 0  # after the third of three steps


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--data.batch_size=4", r"`data.batch_size x devices` 8, but the config says 4"),
        ("--seed_everything=3", "`model.seed` 0, but the config says 3"),
        ("--data.memorization.repeats=2", "`data.memorization`"),
        (EMA, "averaged weights"),
        ("--model.truncation_side=left", "captions that were cut at the right"),
    ],
)
def test_what_it_cannot_change_is_refused(run, tmp_path, capsys, option, said):
    with pytest.raises(SystemExit):
        go_on(run, tmp_path, option)
    assert said in capsys.readouterr().err


def test_a_checkpoint_without_optimizer_is_refused(run, tmp_path, capsys):
    ckpt = tmp_path / "point.ckpt"
    ckpt.write_bytes(find_checkpoint(run / "demo" / "version_0").read_bytes())
    drop_optimizer(ckpt)
    with pytest.raises(SystemExit):
        main([*short_run(tmp_path), f"--ckpt_path={ckpt}", "--trainer.max_steps=3"])
    assert "holds what was trained and no optimizer" in capsys.readouterr().err


def test_what_it_changes_is_said(run, tmp_path, caplog):
    options = ["--trainer.precision=bf16-mixed", "--model.snr_gamma=5", "--trainer.gradient_clip_val=0.5"]
    with caplog.at_level(logging.WARNING, "memcontrol"):
        go_on(run, tmp_path, *options)
    for option in options:
        assert f"goes on with `{option[2:].split('=')[0]}`" in caplog.text


def test_an_undisturbed_run_says_nothing(run, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "memcontrol"):
        go_on(run, tmp_path)
    assert "goes on with" not in caplog.text


@pytest.mark.whole
def test_one_identity_through_all_loggers(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    names = {"CSVLogger": "demo", "PrivateWandbLogger": "x", "TensorBoardLogger": "boards"}
    paths = {"CSVLogger": "lightning.pytorch.loggers", "PrivateWandbLogger": "memcontrol.loggers",
             "TensorBoardLogger": "lightning.pytorch.loggers"}  # fmt: skip
    loggers = [
        {"class_path": f"{paths[k]}.{k}", "init_args": {"save_dir": str(tmp_path), "name": name}}
        for k, name in names.items()
    ]
    args = [a for a in short_run(tmp_path, "--trainer.limit_val_batches=0") if not a.startswith("--trainer.logger")]
    args.append(f"--trainer.logger={json.dumps(loggers)}")
    (tmp_path / "boards" / "version_3").mkdir(parents=True)  # of another run
    cli = main([*args, "--trainer.max_steps=1"])
    first = {type(logger).__name__: logger.version for logger in cli.trainer.loggers}
    folder = tmp_path / "demo" / "version_0"
    assert json.loads((folder / "tracking.json").read_text())["PrivateWandbLogger"] == first["PrivateWandbLogger"]
    assert (first["CSVLogger"], first["TensorBoardLogger"]) == ("version_0", "version_4")
    wandb.finish()
    cli = main([*args, "--trainer.max_steps=2", f"--ckpt_path={folder}"])
    again = {type(logger).__name__: logger.version for logger in cli.trainer.loggers}
    assert again == first
    config = yaml.safe_load((folder / "config.yaml").read_text())
    loggers = config["trainer"]["logger"]
    assert all(logger["init_args"].get("version") is None for logger in loggers)  # the config starts a new run
    assert all(logger["init_args"].get("id") is None for logger in loggers if "Wandb" in logger["class_path"])


def test_runs_that_start_together_take_folders_of_their_own(tmp_path):
    together = threading.Barrier(8)

    def claim(_):
        logger = {"class_path": "CSVLogger", "init_args": {"save_dir": str(tmp_path), "name": "demo", "version": None}}
        together.wait(60)
        with identified([logger], None):
            return logger["init_args"]["version"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(claim, range(8)))
    assert sorted(found) == [f"version_{i}" for i in range(8)]


def test_a_config_that_is_refused_leaves_no_folder(tmp_path):
    with pytest.raises(SystemExit):
        main(short_run(tmp_path, "--model.optimizer.lr=-1"))
    assert not list((tmp_path / "demo").glob("version_*"))
