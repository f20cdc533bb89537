"""Audits of runs, pipelines and pictures; interrupted ones go on where they were."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from torchvision.transforms.functional import to_pil_image

from memcontrol.audit import sample_cache
from memcontrol.cli import main
from memcontrol.data.cache import CacheOptions
from memcontrol.data.features import split_pixels
from memcontrol.data.images import Transform
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.measures import ScoredModel
from tests.conf import short_run

DATA = ["--data.num_subjects=80", "--data.split_fractions=[0.3,0.2,0.5]", "--data.memorization.num_images=2"]
SMALL = ["--options.scoring.num_images=16", "--options.scoring.num_probes=8",
         "--model.sampling.steps=2", "--options.extraction.prompts=2", "--options.extraction.samples=4",
         "--options.scoring.encoder=memcontrol.measures.encoders.ThumbnailEncoder"]  # fmt: skip


def arguments(folder, *paths):
    cache = f"--data.cache.folder={folder / 'cache'}"
    return ["audit", "--config", "demo.yaml", "--ckpt_path", *map(str, paths), cache,
            f"--output={folder / 'audit'}", *DATA, *SMALL]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited")
    main(short_run(folder, *DATA))
    return folder / "demo" / "version_0"


def record(folder):
    return json.loads((folder / "audit" / "audit.json").read_text())


@pytest.mark.whole
def test_two_runs_are_compared(run, tmp_path):
    more = ["--model.optimizer.lr=5e-2", "--trainer.max_steps=8", "--trainer.val_check_interval=8"]
    main(short_run(tmp_path, *DATA, *more, "--trainer.logger.name=other"))
    compared = "--options.scoring.measures=[membership_auc, heldout_loss, noise_norm, amd, replication]"
    main([*arguments(tmp_path, run, tmp_path / "other" / "version_0"), compared])
    found = record(tmp_path)
    assert [item["kind"] for item in found["audited"]] == ["run", "run"]
    assert not found["audited"][0]["verdict"]["leaks"]
    assert {d["name"] for d in found["differences"]} >= {"membership_auc", "heldout_loss", "replication"}
    first, other = ({m["name"]: m["value"] for m in item["measures"]} for item in found["audited"])
    gaps = {d["name"]: d["value"]["value"] for d in found["differences"]}
    for name in ("membership_auc", "heldout_loss", "noise_norm", "amd"):
        assert gaps[name] == pytest.approx(other[name]["value"] - first[name]["value"], rel=1e-3, abs=1e-6), name
    assert abs(gaps["heldout_loss"]) > 1e-4
    page = (tmp_path / "audit" / "report.html").read_text()
    assert "No leak found" in page
    words = re.sub(r'src="data:[^"]*"', "", page.split("<script>")[0])  # plotly names addresses, and may open none
    assert "http:" not in words
    assert "https:" not in words
    assert "CXR" not in words  # prompts are hashes


@pytest.mark.whole
def test_pipeline_folder_is_audited(run, tmp_path):
    main(["export", "--ckpt_path", str(run), "--output", str(tmp_path / "merged")])
    main(arguments(tmp_path, tmp_path / "merged"))
    measures = {m["name"]: m for m in record(tmp_path)["audited"][0]["measures"]}
    assert measures["membership_auc"]["null"] == 0.5
    assert measures["own_prompt"]["p"] > 0.01  # against held-out prompts, since there is no base


@pytest.mark.parametrize("copies", [0, 14])
def test_pictures_are_audited(tmp_path, copies):
    data = PhantomDataModule(
        sites=["C"], num_subjects=80, images_per_subject=2, split_fractions=[0.3, 0.2, 0.5],
        transform=Transform(size=64), cache=CacheOptions(folder=str(tmp_path / "cache")),
    )  # fmt: skip
    data.setup("fit")
    images = list(split_pixels(data, "validate", list(range(16))))
    images += list(split_pixels(data, "train", list(range(14))))[:copies]
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(images):
        to_pil_image(image).save(folder / f"{i}.png")
    pd.DataFrame({"file_name": [f"{i}.png" for i in range(len(images))], "text": "x"}).to_csv(
        folder / "prompts.csv", index=False
    )
    main(arguments(tmp_path, folder))
    verdict = record(tmp_path)["audited"][0]["verdict"]
    assert verdict["leaks"] is (copies > 0)
    if copies:
        assert "Drawn pictures copy images of" in " ".join(verdict["details"])


@pytest.mark.whole
def test_interrupted_audit_goes_on(run, tmp_path, monkeypatch):
    args = [*arguments(tmp_path, run), "--options.scoring.measures=[own_prompt, kid]"]
    drawn: list[int] = []
    draw = ScoredModel.sample

    def counted(self, prompts, seeds, progress=False):
        if type(self) is sample_cache.CachedModel and sum(drawn) >= 16 and limit:
            raise KeyboardInterrupt
        drawn.append(len(prompts))
        return draw(self, prompts, seeds, progress)

    monkeypatch.setattr(ScoredModel, "sample", counted)
    limit = True
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main(args)
    first = sum(drawn)
    kept = len(list((tmp_path / "audit" / "draws").glob("*.png")))
    assert kept == first
    limit = False
    main(args)
    total = len(list((tmp_path / "audit" / "draws").glob("*.png")))
    assert sum(drawn) == total  # nothing was drawn twice
    drawn.clear()
    main(args)
    assert sum(drawn) == 0


def test_nothing_to_audit_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(arguments(tmp_path, tmp_path / "nowhere"))
    assert "nothing that can be audited" in capsys.readouterr().err


def test_one_measure_is_audited_alone(run, tmp_path):
    main([*arguments(tmp_path, run), "--options.scoring.measures=[membership_auc]"])
    (item,) = record(tmp_path)["audited"]
    assert {m["name"] for m in item["measures"]} == {"membership_auc"}
    assert not item["verdict"]["leaks"]
