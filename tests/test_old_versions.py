"""What version 0.1 wrote is read: a run, a checkpoint, an adapter, a finished study, and the evidence in docs/."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from memcontrol import load_pipeline
from memcontrol.cli import main
from memcontrol.compare import run as comparison
from memcontrol.files.card import Card
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.measures.score_log import read_scores
from tests.conf import short_run
from tests.memcontrol.search.conf import arguments

OLD = Path(__file__).parent / "fixtures" / "v0_1"
DOCS = Path(__file__).parents[1] / "docs" / "evidence"


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(OLD / "run", tmp_path / "demo" / "version_0"))


def test_checkpoint_and_adapter_of_a_run_give_the_same_pictures(run):
    options = {"num_inference_steps": 2, "output_type": "pt"}
    card, weights = read_checkpoint(find_checkpoint(run))
    assert card == Card.read(run / "adapter")
    assert (card.step, card.bits) == (6, "bits:1100000000000")
    assert any(w.abs().max() > 0 for w in weights.values())
    one, two = (
        load_pipeline(path)("CXR PA", generator=torch.Generator().manual_seed(0), **options).images
        for path in (run, run / "adapter")
    )
    assert (one - two).abs().max() < 1e-5


def test_its_scores_are_read(run):
    scores = read_scores(run)
    assert [scored.step for scored in scores] == [0, 3, 6]
    values = {m.name: m.value for m in scores[-1].measurements}
    raw = json.loads((run / "rewards.jsonl").read_text().splitlines()[-1])
    expected = {m["name"]: m["value"] for m in raw["measures"]}
    assert values["kid"].value == expected["kid"]["value"]
    assert values["membership_tpr_1"] is None


def test_a_run_goes_on_under_its_own_config(run, tmp_path):
    """The config names classes where they no longer are."""
    moved = [f"--data.cache.folder={tmp_path / 'cache'}", f"--trainer.logger.save_dir={tmp_path}"]
    main(["fit", "--config", str(run / "config.yaml"), *moved, f"--ckpt_path={run}", "--trainer.max_steps=7"])
    card, _ = read_checkpoint(find_checkpoint(run))
    assert card.step == 7


@pytest.mark.whole
def test_a_run_is_audited(run, tmp_path):
    same = [a for a in short_run(tmp_path)[1:] if a.startswith(("--config", "demo", "--data", "--model.sampling"))]
    main(
        [
            "audit", *same, f"--ckpt_path={run}", f"--output={tmp_path / 'audit'}", "--options.scoring.num_images=8",
            "--options.scoring.num_probes=8", "--options.extraction.prompts=0", "--options.scoring.attacks=false",
            "--options.scoring.encoder=memcontrol.rewards.encoders.ThumbnailEncoder",
        ]
    )  # fmt: skip
    (found,) = json.loads((tmp_path / "audit" / "audit.json").read_text())["audited"]
    assert found["kind"] == "run"
    assert not any("other images" in detail for detail in found["verdict"]["details"])  # it is this training set


def test_a_finished_study_prints_its_front(tmp_path, capsys):
    shutil.copytree(OLD / "study", tmp_path / "study")
    before = (tmp_path / "study" / "journal.jsonl").read_bytes()
    main(arguments(tmp_path, 3, "--search.rescore_factor=2"))
    assert (tmp_path / "study" / "journal.jsonl").read_bytes() == before  # nothing is trained or scored again
    assert "bits:1111111111111" in capsys.readouterr().out
    assert (tmp_path / "study" / "report.html").is_file()
    old, new = pd.read_csv(OLD / "study" / "pareto.csv"), pd.read_csv(tmp_path / "study" / "pareto.csv")
    pd.testing.assert_frame_equal(old, new)
    assert (tmp_path / "study" / "best.yaml").read_text() == (OLD / "study" / "best.yaml").read_text()


def test_an_unfinished_study_is_refused_with_a_word(tmp_path, capsys):
    shutil.copytree(OLD / "study", tmp_path / "study")
    with pytest.raises(SystemExit):
        main(arguments(tmp_path, 5, "--search.rescore_factor=2"))
    assert "was begun by an older version of memcontrol" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cxr", "icons"])
def test_evidence_prints_the_same_tables_and_verdicts(tmp_path, name):
    searches = f"--compare.searches=[{DOCS / 'cxr-search'},{DOCS / 'cxr-search-rewards'}]"
    options = [f"--compare.evidence={DOCS / name}", "--compare.report_only=true", f"--compare.folder={tmp_path}"]
    main(["compare", "--config", f"compare/{name}.yaml", "--data.root=.", *options, *[searches] * (name == "cxr")])
    for file in ("table.md", "claims.md"):
        assert (tmp_path / file).read_bytes() == (OLD / "evidence" / name / file).read_bytes()


@pytest.mark.parametrize(("name", "digest"), [("smoke", "ad9336c185a548fa"), ("cxr", "3e2be847bbe12008")])
def test_old_evidence_is_checked_by_the_old_rule(monkeypatch, name, digest):
    """The digests are what version 0.1 gave for these configs."""
    found = []
    monkeypatch.setattr(comparison._Comparison, "complete", lambda self: found.append(self.setting))
    monkeypatch.setattr(comparison, "read_rows", lambda *_: [])
    monkeypatch.setattr(comparison, "judge_claims", lambda *_: [])
    monkeypatch.setattr(comparison, "write_report", lambda *_: Path("x"))
    needed = ["--data.root=x", "--model.base=embedded", "--compare.searches=[]"] if name == "cxr" else []
    main(["compare", "--config", f"compare/{name}.yaml", *needed])
    assert found[0].old == digest
    assert found[0].matches(digest)
    assert not found[0].matches(digest[::-1])
