"""The shipped comparisons fit together, and that on MIMIC-CXR runs on a small base."""

from __future__ import annotations

import json

import pytest
import yaml

from memcontrol.cli import main
from memcontrol.files.configs import CONFIGS
from memcontrol.files.journal import Journal
from tests.memcontrol.data.test_sources import make_mimic
from tests.memcontrol.search.conf import inline_workers


def test_search_has_the_setting_of_the_comparison():
    search, compare = (yaml.safe_load((CONFIGS / "compare" / f"{n}.yaml").read_text()) for n in ("cxr_search", "cxr"))
    assert search["data"]["init_args"].pop("train_on") == "search"
    assert all(search[key] == compare[key] for key in ("model", "data", "trainer"))
    found = yaml.safe_load((CONFIGS / compare["compare"]["found"]["svdiff"]).read_text())
    assert len(found["model"]["mask"]) == 13


@pytest.mark.parametrize("name", ["mimic", "icons", "cxr", "smoke"])
def test_config_resolves(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", f"--config=compare/{name}.yaml", "--print_config"])
    assert ended.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["compare"]["seeds"]


@pytest.mark.slow
def test_first_cell_on_mimic(tmp_path):
    root, reports = make_mimic(tmp_path / "mimic", num_studies=48, num_held=24)
    sampling = {"sampling": {"steps": 2, "scheduler": "DPMSolverMultistepScheduler", "batch_size": 8}}
    scoring = {"num_images": 8, "num_probes": 8, "draws": 1, "attacks": False} | sampling
    scoring["encoder"] = {"class_path": "memcontrol.measures.encoders.ThumbnailEncoder"}
    small = yaml.safe_load((CONFIGS / "compare" / "mimic.yaml").read_text())
    small["trainer"]["callbacks"][0]["init_args"]["scoring"] = scoring
    small["trainer"] |= {
        "precision": 32, "accumulate_grad_batches": 1, "max_steps": 1, "val_check_interval": 1, "accelerator": "cpu",
    }  # fmt: skip
    small["compare"] |= {"methods": ["compare/methods/svdiff.yaml"], "seeds": [0], "lrs": [1e-4], "scoring": scoring}
    config = tmp_path / "mimic.yaml"
    config.write_text(yaml.safe_dump(small))
    args = [
        "compare", f"--config={config}", "--model.base=embedded", f"--data.root={root}",
        f"--data.reports={reports}",
        "--data.transform.size=64", "--data.batch_size=4", "--data.num_workers=0", "--data.data_fraction=1",
        "--data.memorization.num_images=1", f"--data.cache.folder={tmp_path / 'cache'}", "--compare.threads=1",
        f"--compare.folder={tmp_path / 'compare'}", f"--compare.evidence={tmp_path / 'evidence'}",
    ]  # fmt: skip
    with inline_workers():
        main(args)
    events = Journal(tmp_path / "compare" / "journal.jsonl").events()
    assert [e["error"] for e in events if e["event"] == "run"] == [None]
    assert {p.stem for p in (tmp_path / "evidence").glob("*.json")} == {"base-seed0", "svdiff-seed0"}
    record = json.loads((tmp_path / "evidence" / "svdiff-seed0.json").read_text())
    assert record["measures"]["membership_auc"]["value"]["value"] >= 0
