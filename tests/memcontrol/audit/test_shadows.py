"""Shadow models of an audit: trained once, on halves that each patient is in as often as not."""

from __future__ import annotations

import json

import pytest
import yaml

from memcontrol.cli import main
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from tests.conf import short_run
from tests.memcontrol.search.conf import inline_workers

pytestmark = pytest.mark.whole

DATA = ["--data.num_subjects=60", "--data.split_fractions=[0.4,0.2,0.4]", "--data.memorization.num_images=2"]


def arguments(folder, run, *more):
    return ["audit", "--config", "demo.yaml", "--ckpt_path", str(run), f"--data.cache.folder={folder / 'cache'}",
            f"--output={folder / 'audit'}", *DATA, "--options.scoring.num_images=8", "--model.sampling.steps=1",
            "--options.scoring.measures=[membership_calibrated,membership_lira]", "--options.extraction.prompts=0",
            "--options.shadows.number=2", "--options.shadows.threads=1", *more]  # fmt: skip


def test_they_are_trained_once_and_attack(tmp_path, caplog):
    with inline_workers():
        main(short_run(tmp_path, *DATA, "--model.optimizer.lr=1e-2"))
        run = tmp_path / "demo" / "version_0"
        main(arguments(tmp_path, run))
        (folder,) = (tmp_path / "audit" / "shadows").iterdir()
        paths = [find_checkpoint(folder / f"shadow-00{k}") for k in (0, 1)]
        written = [path.stat().st_mtime_ns for path in paths]
        cards = [read_checkpoint(path)[0] for path in paths]
        assert [card.step for card in cards] == [6, 6]
        assert cards[0].training_set != cards[1].training_set
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["data"]["init_args"]["batch_size"] == 8  # the run's, not the default of the audit's config
        measures = {
            m["name"]: m for m in json.loads((tmp_path / "audit" / "audit.json").read_text())["audited"][0]["measures"]
        }
        assert measures["membership_lira"]["note"].startswith("by 2 shadow models")
        assert 0 <= measures["membership_lira"]["value"]["value"] <= 1
        main(arguments(tmp_path, run))
        assert [path.stat().st_mtime_ns for path in paths] == written
        main(["export", "--ckpt_path", str(run), "--output", str(tmp_path / "merged")])
        main(arguments(tmp_path, tmp_path / "merged", "--base=embedded"))
    assert "is no run, so there is no way to train shadow models of it" in caplog.text
