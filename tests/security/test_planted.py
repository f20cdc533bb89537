"""What is planted in data turns up in those files alone that SECURITY.md names, and none of all is open to others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from memcontrol.cli import main
from memcontrol.files.configs import CONFIGS
from tests.conf import short_run
from tests.memcontrol.search.conf import KEEP, SCORING, inline_workers

PLANTED = {
    "prompt": "ZEBRAFINDING",
    "patient": "PATIENTQ77",
    "label": "LABELXYZZY",
    "file": "FILENAMEPLUGH",
    "root": "ROOTFROTZ",
    "home": str(Path.home()),
}
NAMED = {
    "config.yaml": {"root", "home"},
    "hparams.yaml": {"root", "home"},
    "study.yaml": {"root", "home"},
    "trial.log": set(PLANTED),
    "prompts.csv": {"prompt"},
    "leaking.csv": {"patient", "label"},
}
"""Files that SECURITY.md names, and what they may hold."""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Files of a fit, predict, export, audit and study on planted data, made under umask 022."""
    root = tmp_path / PLANTED["root"]
    root.mkdir()
    rows = []
    for i in range(48):
        name = f"{PLANTED['file']}{i}.png"
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
        text, patient = f"CXR PA {PLANTED['prompt']} {i}", f"{PLANTED['patient']}-{i // 2}"
        rows.append({"file_name": name, "text": text, "subject_id": patient, "label": PLANTED["label"]})
    pd.DataFrame(rows).to_csv(root / "metadata.csv", index=False)
    data = tmp_path / "data.yaml"
    kind = "memcontrol.data.imagefolder.ImageFolderDataModule"
    options = "batch_size: 8, split_fractions: [0.4, 0.3, 0.3], transform: {size: 64}, memorization: {num_images: 2}"
    data.write_text(f"data: {{class_path: {kind}, init_args: {{root: {root}, {options}}}}}\n")
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)
    before = os.umask(0o022)
    short = [a for a in short_run(out) if not a.startswith(("--data", "fit")) and a not in ("--config", "demo.yaml")]
    both = ["--config", str(CONFIGS / "demo.yaml"), "--config", str(data), f"--data.cache.folder={out / 'cache'}"]
    scoring = [
        "num_images=8",
        "num_probes=8",
        "draws=1",
        "attacks=false",
        "sampling.steps=1",
        "encoder=ThumbnailEncoder",
    ]
    try:
        main(["fit", *both, *short, "--trainer.max_steps=2", "--trainer.val_check_interval=2"])
        run = f"--ckpt_path={out / 'demo' / 'version_0'}"
        main(["predict", run, f"--prompts=[CXR {PLANTED['prompt']}]", "--sampling.steps=1", "--output=drawn"])
        main(["export", run, "--output=merged"])
        with inline_workers():
            main(["audit", *both, run, *(f"--options.scoring.{o}" for o in scoring), "--options.extraction.prompts=1",
                  "--options.extraction.samples=3", "--options.shadows.number=2", "--output=audit"])  # fmt: skip
        rewards = SCORING.replace("PhantomEncoder", "ThumbnailEncoder")
        with inline_workers():
            main(["search", *both, *(a for a in short if "callbacks" not in a and "logger" not in a),
                  "--trainer.max_steps=2", "--trainer.val_check_interval=1", f"--trainer.callbacks=[{rewards},{KEEP}]",
                  "--search.study=study", "--search.trials=2", "--search.workers=1", "--search.threads=1",
                  "--search.objectives=[noise_norm,kid]", "--search.rescore_factor=0"])  # fmt: skip
    finally:
        os.umask(before)
    return out


@pytest.mark.whole
def test_planted_things_stay_where_they_are_needed(made):
    files = [path for path in made.rglob("*") if path.is_file()]
    assert len(files) > 60
    assert (made / "study" / "report.html").is_file()
    assert len(list(made.glob("audit/shadows/*/shadow-*/checkpoints/step-*.ckpt"))) == 2
    assert not [path for path in files if path.stat().st_mode & 0o077]
    found = {}
    for path in files:
        content = path.read_bytes()
        held = {kind for kind, word in PLANTED.items() if word.encode() in content}
        if held - NAMED.get(path.name, set()) and "cache" not in path.relative_to(made).parts:
            found[str(path.relative_to(made))] = held - NAMED.get(path.name, set())
    assert not found
    assert PLANTED["root"] in (made / "demo" / "version_0" / "config.yaml").read_text()  # the search does find
    security = (Path(__file__).parents[2] / "SECURITY.md").read_text()
    assert all(f"`{name}`" in security for name in NAMED)
