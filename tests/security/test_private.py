"""What a config says does not make the machine speak, and what is written is its owner's alone."""

from __future__ import annotations

import json
import os

import pytest
import torch

from memcontrol.cli import main
from memcontrol.errors import EncoderError, PrivacyError
from memcontrol.loggers import PrivateWandbLogger
from memcontrol.measures.encoders import InceptionEncoder, XrayEncoder
from memcontrol.trusted import trusting
from tests.conf import short_run


@pytest.fixture
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_no_file_of_a_run_is_readable_by_others(tmp_path, usual_umask):
    main(short_run(tmp_path, "--trainer.max_steps=2", "--trainer.val_check_interval=2"))
    run = tmp_path / "demo" / "version_0"
    main(
        ["predict", f"--ckpt_path={run}", "--prompts=[CXR PA]", "--sampling.steps=2", f"--output={tmp_path / 'drawn'}"]
    )
    main(["export", f"--ckpt_path={run}", f"--output={tmp_path / 'merged'}"])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if path.stat().st_mode & 0o077]
    assert (tmp_path / "drawn" / ".gitignore").read_text() == "*\n"
    named = [p for p in (tmp_path / "merged").rglob("*.json") if "_name_or_path" in json.loads(p.read_text())]
    assert not named


def test_a_config_cannot_vouch_for_a_pickle(tmp_path):
    path = tmp_path / "x.pt"
    torch.save(torch.nn.Linear(1, 1), path)
    with trusting(False), pytest.raises(EncoderError, match="add `--trust-config`"):
        XrayEncoder(str(path), sha256="0" * 64)._read(path)
    with pytest.raises(EncoderError, match="no file of plain tensors"):
        InceptionEncoder(str(path)).load()


@pytest.mark.parametrize("setting", ["base_url", "api_key", "http_proxy"])
def test_a_config_cannot_send_a_run_elsewhere(setting):
    with pytest.raises(PrivacyError, match="Say it in the environment"):
        PrivateWandbLogger(settings={setting: "https://example.com"})


def test_what_keeps_a_tracker_silent_is_applied_last():
    logger = PrivateWandbLogger(settings={"console": "wrap", "disable_git": False, "init_timeout": 7})
    settings = logger._wandb_init["settings"]
    assert (settings["console"], settings["disable_git"], settings["init_timeout"]) == ("off", True, 7)
