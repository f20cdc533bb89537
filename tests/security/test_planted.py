"""What is planted in data turns up in those files alone that SECURITY.md names, and none of all is open to others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from memcontrol.cli import main
from memcontrol.cli.commands.withdraw import withdraw
from memcontrol.data.patients import find_patient
from memcontrol.errors import DataError
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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Files of a fit, predict, export, audit and study on planted data, made under umask 022."""
    tmp_path = tmp_path_factory.mktemp("planted")
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
    was_in = Path.cwd()
    os.chdir(out)
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
        said = ", ".join(f"CXR PA {PLANTED['prompt']} {i}" for i in range(24))
        prompts = f"--prompts=[{said}]"
        main(["predict", run, prompts, "--sampling.steps=1", "--output=drawn"])
        main(["export", run, "--output=merged"])
        main(["export", run, "--output=file", "--format=kohya"])
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
        os.chdir(was_in)
    return out


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


def patients_of(run):
    """Return the planted patients of each split of a run."""
    found = {}
    for i in range(24):
        name = f"{PLANTED['patient']}-{i}"
        membership = find_patient(run, name)
        if membership is not None:
            found.setdefault(membership.split, []).append(name)
    return found


def traces_of(patient, made):
    return withdraw(patient, [made], made / "cache")


def test_all_that_was_made_with_a_patient_is_found_and_nothing_else(made):
    run = made / "demo" / "version_0"
    patients = patients_of(run)
    assert {split: len(names) for split, names in patients.items()} == {"train": 10, "validate": 7, "test": 7}
    drawn = [name for name in patients["train"] if int(name.rsplit("-", 1)[1]) < 12]  # 24 captions, two of each
    found = traces_of(drawn[0], made)
    where = {
        kind: sorted(path.removeprefix(f"{made}/") for path in rows) for kind, rows in found.groupby("kind")["path"]
    }
    assert where["run"] == sorted(
        str(path.parent.relative_to(made)) for path in made.rglob("patients.npz") if path.parent.name != "audit"
        and find_patient(path.parent, drawn[0]) is not None
    )  # fmt: skip
    assert "demo/version_0/adapter" in where["adapter"]
    assert "demo/version_0/checkpoints/last.ckpt" in where["checkpoint"]
    assert any(path.startswith("study/trials/") for path in where["checkpoint of the front"])
    assert where["export"] == ["file", "merged"]
    assert where["audit"] == ["audit"]
    assert where["pictures of an audit"] == ["audit/draws"]
    assert where["pictures of predict"] == ["drawn"]
    assert where["samples"]
    assert where["study or comparison"] == ["study"]
    assert where["table that names the patient"] == ["audit/leaking.csv"]
    assert {path.split("/")[1].split("-")[0].split(".")[0] for path in where["cache"]} == {
        "features", "latents", "texts", "verdicts"
    }  # fmt: skip
    assert len(where) >= 10
    shadows = {path for path in where["run"] if path.startswith("audit/shadows")}
    assert len(shadows) == 2  # one was trained on the patient, the other held the patient out


def test_of_a_held_out_patient_no_weights_are_named(made):
    held = patients_of(made / "demo" / "version_0")["validate"][0]
    kinds = set(traces_of(held, made)["kind"])
    assert {"run", "audit", "cache"} <= kinds
    assert not kinds & {"checkpoint", "adapter", "export", "table that names the patient"}


def test_of_an_unknown_patient_nothing_is_found(made):
    assert traces_of("NOBODY", made).empty
    assert traces_of(PLANTED["patient"], made).empty  # a part of an id is none
    with pytest.raises(DataError, match="no folder"):
        withdraw("a", [made / "nowhere"], made / "cache")
    with pytest.raises(DataError, match="has a record"):
        withdraw("a", [made / "merged"], made / "cache")
