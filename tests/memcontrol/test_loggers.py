"""Nothing but numbers reaches Weights & Biases' files."""

from __future__ import annotations

import subprocess
import sys

import pytest

from memcontrol.errors import PrivacyError
from memcontrol.loggers import PrivateWandbLogger, numbers_only
from tests.conf import short_run, wait_for


def test_numbers_and_masks_pass():
    values = {"lr": 0.1, "mask": "bits:01", "base": "/models/jo", "nan": float("nan"), "slots": "see patient 7"}
    assert numbers_only(values) == {"lr": 0.1, "mask": "bits:01"}


def test_metrics_named_by_labels_stay():
    assert numbers_only({"quality/kid": 1.0, "quality/kid/Ward 7": 1.0, "kid/Dr Miller": 2.0}) == {"quality/kid": 1.0}


@pytest.mark.parametrize("call", ["log_image", "log_text", "log_table", "log_video", "log_audio", "watch"])
def test_more_than_numbers_is_refused(tmp_path, call):
    with pytest.raises(PrivacyError, match="privacy: everything"):
        getattr(PrivateWandbLogger(save_dir=str(tmp_path)), call)("key", [])


PUBLIC = """
import sys, wandb
run = wandb.init(mode="offline", dir=sys.argv[1], project="memcontrol")
print("canaryconsole", flush=True)
run.finish()
"""


def recorded(folder):
    """Return the contents of the files that wandb would send."""
    return b"".join(path.read_bytes() for path in folder.rglob("*.wandb"))


def test_canaries_are_found_where_nothing_is_held_back(tmp_path):
    """Else the next test could not fail."""
    subprocess.run([sys.executable, "-c", PUBLIC, tmp_path, "canaryargv"], check=True, capture_output=True)
    wait_for(tmp_path, b"canaryargv")
    assert b"canaryconsole" in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


@pytest.mark.slow  # tests/security/test_tracker.py reads what arrives at a server
def test_canaries_stay_at_home(tmp_path):
    """Paths, prompts, arguments, console output and an error's text do not reach the offline files."""
    folder = tmp_path / "canarypath"
    folder.mkdir()
    args = short_run(folder, "--config", "logger/wandb.yaml", f"--trainer.logger.save_dir={folder}")
    order = [a for a in args if "callbacks" not in a]
    one = "{class_path: callbacks.SampleGridCallback, init_args: {prompts: [canaryprompt]}}"
    boom = "{class_path: tests.killer.Raiser, init_args: {at_step: 4}}"
    program = [sys.executable, "train.py", *order, "--trust-config", f"--trainer.callbacks=[{one},{boom}]"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert "canaryconsole" in done.stdout  # and the arguments hold canaryprompt and canarypath
    assert "canaryerror" in done.stderr
    wait_for(folder, b"train/loss")
    files = [p for p in folder.rglob("*") if p.is_file() and "wandb" in str(p.relative_to(folder))]
    for path in files:
        content = path.read_bytes()
        canaries = [b"canaryprompt", b"canaryconsole", b"canaryerror", b"canarypath"]
        if path.name.startswith("debug"):
            canaries.remove(b"canarypath")  # wandb's own log, which it never sends, says where it lies
        for canary in canaries:
            assert canary not in content, (path.name, canary)
    assert b"train/loss" in recorded(folder)
    assert not [p for p in files if p.suffix in (".png", ".jpg")]
