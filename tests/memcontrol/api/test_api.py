"""From Python, objects do what configs do on the command line."""

from __future__ import annotations

import pytest
import torch
import yaml

import memcontrol.api as mc
from memcontrol.cli import main
from memcontrol.data.splits import MemorizationSubset
from memcontrol.described import config_of
from memcontrol.errors import ConfigError, SearchError
from memcontrol.measures.encoders import ThumbnailEncoder
from memcontrol.mitigation import LossFloor
from tests.memcontrol.search.conf import inline_workers

FEW = mc.SamplingOptions(steps=1, scheduler="DPMSolverMultistepScheduler", batch_size=32)
SCORING = mc.ScoringOptions(
    measures=["heldout_loss", "kid"], num_images=8, num_probes=8, draws=1, encoder=ThumbnailEncoder(), sampling=FEW
)


def data(folder):
    data = mc.PhantomDataModule(
        num_subjects=24, split_fractions=[0.5, 0.25, 0.25], batch_size=8, transform=mc.Transform(size=64)
    )
    data.cache = type(data.cache)(folder=str(folder / "cache"))
    return data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    module = mc.MemControlModule(adapter=mc.SVDiffConfig(), eval_draws=1)
    rewards = mc.RewardsCallback(memorization="heldout_loss", quality="kid", scoring=SCORING)
    grid = mc.SampleGridCallback(num_images=4, sampling=FEW)
    run = mc.fit(module, data(folder), max_steps=4, val_check_interval=2, folder=folder / "runs" / "first",
                 callbacks=[rewards, grid], progress=False)  # fmt: skip
    return run, module


def test_a_run_is_a_run_folder_and_the_module_is_trained(run):
    run, module = run
    assert run.folder.name == "version_0"
    assert run.card.step == 4
    assert sorted(run.scores) == [0, 2, 4]
    assert run.scores[4]["kid"].n > 0
    with pytest.raises(KeyError, match="was not measured"):
        run.scores[4]["fid"]
    assert "train/loss" in run.metrics
    trained = {name: p.detach() for name, p in module.adapted.trainable().items()}
    assert any(bool(p.abs().max() > 0) for p in trained.values())
    assert all(path.stat().st_mode & 0o077 == 0 for path in run.folder.rglob("*") if path.is_file())
    page = run._repr_html_()
    assert "SVDIFF" in page
    assert "data:image/png;base64" in page


def test_what_it_writes_is_what_the_command_line_reads(run, tmp_path):
    run, _ = run
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert config["data"]["class_path"] == "memcontrol.data.phantom.datamodule.PhantomDataModule"
    assert config["data"]["init_args"]["num_subjects"] == 24
    main(["slots", "--config", str(run.folder / "config.yaml")])


def test_it_goes_on_in_its_folder(run, tmp_path):
    run, _ = run
    longer = mc.fit(mc.MemControlModule(adapter=mc.SVDiffConfig(), eval_draws=1), data(tmp_path), max_steps=5,
                    resume=run, progress=False)  # fmt: skip
    assert longer.folder == run.folder
    assert longer.card.step == 5
    assert longer.metrics["step"].min() < 2  # what was logged before is kept


def test_scores_stand_beside_the_base(run, tmp_path):
    run, _ = run
    found = mc.score(run, data(tmp_path), options=SCORING, progress=False)
    assert set(found.table["measure"]) == {"heldout_loss", "kid"}
    assert found.table["null"].notna().all()
    base = mc.score("embedded", data(tmp_path), options=SCORING, progress=False)
    assert base["heldout_loss"].value == pytest.approx(float(found.table.set_index("measure")["null"]["heldout_loss"]))
    assert "<table" in found._repr_html_()
    drawn = run.pipeline()("CXR PA", num_inference_steps=1, output_type="pt").images
    assert torch.isfinite(torch.as_tensor(drawn)).all()


@pytest.mark.whole
def test_an_audit_and_a_search(run, tmp_path):
    run, _ = run
    options = mc.AuditOptions(scoring=SCORING, extraction=mc.AuditOptions().extraction.__class__(prompts=0))
    audited = mc.audit(run, data(tmp_path), output=tmp_path / "audit", options=options, sampling=FEW)
    assert not audited.leaks
    assert (tmp_path / "audit" / "report.html").is_file()
    assert audited.verdicts[0] in audited._repr_html_()
    rewards = mc.RewardsCallback(memorization="heldout_loss", quality="kid", scoring=SCORING, score_base=False)
    module = mc.MemControlModule(adapter=mc.SVDiffConfig(), eval_draws=1, mitigations=[LossFloor(images=4, parts=2)])
    search = mc.SearchOptions(study=str(tmp_path / "study"), trials=2, objectives=["heldout_loss", "kid"],
                              rescore_factor=0, workers=1, threads=1)  # fmt: skip
    with inline_workers():
        study = mc.search(module, data(tmp_path), max_steps=2, rewards=rewards, options=search)
    assert len(study.trials) == 2
    assert study.best is not None
    assert "<table" in study._repr_html_()
    with pytest.raises(SearchError, match="executor"):
        mc.search(module, data(tmp_path), max_steps=2, rewards=rewards, options=mc.SearchOptions(executor=object()))


def test_objects_are_the_configs_that_make_them():
    module = mc.MemControlModule(
        adapter=mc.LoraConfig(r=6, target_modules=["to_q"]), mask=[1, 0], mitigations=[LossFloor(share=0.5)],
        privacy=mc.PrivacyOptions(epsilon=3.0), optimizer=mc.OptimizerOptions(lr=1e-3),
    )  # fmt: skip
    found = config_of(module)
    assert found["class_path"] == "memcontrol.module.MemControlModule"
    args = found["init_args"]
    assert args["adapter"]["class_path"].endswith("LoraConfig")
    assert args["adapter"]["init_args"] == {"r": 6, "target_modules": ["to_q"]}
    assert args["mitigations"] == [{"class_path": "memcontrol.mitigation.floor.LossFloor", "init_args": {"share": 0.5}}]
    assert args["privacy"]["epsilon"] == 3.0
    assert args["optimizer"]["lr"] == 1e-3
    assert "base" not in args  # what is not said is left to the defaults
    assert config_of(mc.PhantomDataModule(["A"], memorization=MemorizationSubset(2)))["init_args"] == {
        "sites": ["A"],
        "memorization": {"num_images": 2, "repeats": 50},
    }
    with pytest.raises(ConfigError, match="cannot be written into a config"):
        config_of(object())


def test_names_are_offered_for_completion():
    assert {"fit", "score", "search", "audit", "load_pipeline", "Mask", "SVDiffConfig"} <= set(dir(mc))
    assert all(hasattr(mc, name) for name in mc.__all__)
