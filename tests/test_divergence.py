"""What is not finite ends in an error at its step, and in no file."""

from __future__ import annotations

import csv
import json
import math
import random

import pytest
import torch

from memcontrol.cli import main
from memcontrol.diffusion import sampling
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.journal import Journal
from tests.conf import short_run
from tests.memcontrol.search.conf import SCORING, inline_workers
from tests.memcontrol.search.conf import arguments as study_of

STEP = random.randrange(1, 6)
DATA = ["--data.num_subjects=80", "--data.split_fractions=[0.2,0.2,0.6]"]


def numbers_of(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from numbers_of(item)
    elif isinstance(value, float):
        yield value


def tensors_of(value):
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_of(item)
    elif isinstance(value, torch.Tensor):
        yield value


def files_that_are_not_finite(folder):
    """Return the files of a folder that hold a number that is not finite."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        numbers = []
        if path.suffix == ".ckpt":
            content = torch.load(path, map_location="cpu", weights_only=True)
            content.pop("callbacks", None)  # Lightning's bound of what is best starts at infinity
            if not all(t.isfinite().all() for t in tensors_of(content)):
                found.append(path.name)
        elif path.suffix in (".json", ".jsonl"):
            for line in [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines():
                numbers += numbers_of(json.loads(line))
        elif path.suffix == ".csv":
            for row in csv.reader(path.open()):
                numbers += [float(c) for c in row if c.lower().lstrip("+-") in ("nan", "inf", "infinity")]
        if not all(map(math.isfinite, numbers)):
            found.append(path.name)
    return found


def refused(args, capsys):
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    main(short_run(folder, *DATA, "--trainer.max_steps=2", "--trainer.val_check_interval=2"))
    return folder / "demo" / "version_0"


def test_the_check_can_fail(tmp_path):
    (tmp_path / "x.json").write_text('{"a": [1.0, NaN]}')
    (tmp_path / "x.csv").write_text("a\nnan\n")
    torch.save({"a": [torch.tensor([1.0, math.inf])]}, tmp_path / "x.ckpt")
    assert files_that_are_not_finite(tmp_path) == ["x.ckpt", "x.csv", "x.json"]


def test_a_rate_that_is_far_too_high(tmp_path, capsys):
    said = refused(short_run(tmp_path, "--model.optimizer.lr=1e20"), capsys)
    assert "Training has diverged: at step" in said
    assert "Lower `model.optimizer.lr`" in said
    assert not files_that_are_not_finite(tmp_path)


@pytest.mark.parametrize("value", [".nan", "1.0e+30"])
def test_fit(tmp_path, capsys, value):
    spoil = f"--trainer.callbacks+={{class_path: tests.killer.Spoiler, init_args: {{at_step: {STEP}, value: {value}}}}}"
    every = "--trainer.callbacks+={class_path: callbacks.AdapterCheckpoint, init_args: {every_n_train_steps: 1}}"
    args = [a for a in short_run(tmp_path) if "every_n_train_steps" not in a]
    said = refused([*args, every, "--trust-config", spoil], capsys)
    assert f"at step {STEP}, the loss is" in said
    last = find_checkpoint(tmp_path / "demo" / "version_0")
    assert f"The last good checkpoint is {last}" in said
    assert read_checkpoint(last)[0].step == STEP
    assert not files_that_are_not_finite(tmp_path)


def test_weights_that_only_the_end_sees(tmp_path, capsys):
    """The last step spoils them: no loss follows but that of the held-out images."""
    boom = "--trainer.callbacks+={class_path: tests.killer.AtTheEnd}"
    said = refused(short_run(tmp_path, "--trust-config", boom), capsys)
    assert "Training has diverged: at step 6" in said
    assert not files_that_are_not_finite(tmp_path)


def test_search(tmp_path):
    step = random.randrange(2)
    spoil = f"{{class_path: tests.killer.Spoiler, init_args: {{at_step: {step}, value: .nan}}}}"
    args = [a for a in study_of(tmp_path, 1) if not a.startswith("--trainer.callbacks")]
    with inline_workers():  # the base is a point, so there is a front without the trial
        main([*args, "--trust-config", f"--trainer.callbacks=[{spoil},{SCORING}]"])
    (end,) = [e for e in Journal(tmp_path / "study" / "journal.jsonl").events() if e["event"] == "finish"]
    assert end["state"] == "FAILED"
    assert "DivergedError: Training has diverged" in end["error"]
    assert not files_that_are_not_finite(tmp_path)


def spoilt(run, folder):
    content = torch.load(find_checkpoint(run), map_location="cpu", weights_only=True)
    name = random.choice(sorted(content["state_dict"]))
    content["state_dict"][name].view(-1)[0] = random.choice([math.nan, math.inf])
    torch.save(content, folder / "spoilt.ckpt")
    return folder / "spoilt.ckpt"


def overflow(monkeypatch):
    """Let a picture overflow at some step of the sampler."""
    plain, at = sampling.scheduler_named, random.randrange(2)

    def scheduler(name):
        class Overflows(plain(name)):
            def step(self, output, *args, **kwargs):
                self.count = getattr(self, "count", -1) + 1
                return super().step(output * (math.inf if self.count == at else 1), *args, **kwargs)

        return Overflows

    monkeypatch.setattr(sampling, "scheduler_named", scheduler)


@pytest.mark.whole
def test_predict(run, tmp_path, capsys, monkeypatch):
    args = ["predict", "--config=demo.yaml", "--prompts=[CXR PA]", "--model.sampling.steps=2",
            "--model.sampling.scheduler=DDIMScheduler", f"--output={tmp_path / 'drawn'}"]  # fmt: skip
    said = refused([*args, f"--ckpt_path={spoilt(run, tmp_path)}"], capsys)
    assert "values that are no finite numbers" in said
    overflow(monkeypatch)
    said = refused([*args, f"--ckpt_path={run}"], capsys)
    assert "1 of 1 drawn pictures hold values that are no finite numbers" in said
    assert not list((tmp_path / "drawn").glob("*.png"))


@pytest.mark.whole
def test_audit(run, tmp_path, capsys, monkeypatch):
    args = ["audit", "--config=demo.yaml", *DATA, f"--output={tmp_path / 'audit'}", "--model.sampling.steps=2",
            "--model.sampling.scheduler=DDIMScheduler", f"--data.cache.folder={tmp_path / 'cache'}",
            "--options.scoring.num_images=8", "--options.scoring.num_probes=8", "--options.scoring.draws=1",
            "--options.scoring.encoder=memcontrol.measures.encoders.ThumbnailEncoder"]  # fmt: skip
    said = refused([*args, f"--ckpt_path={spoilt(run, tmp_path)}"], capsys)
    assert "values that are no finite numbers" in said
    overflow(monkeypatch)
    said = refused([*args, f"--ckpt_path={run}"], capsys)
    assert "drawn pictures hold values that are no finite numbers" in said
    assert not (tmp_path / "audit" / "audit.json").exists()
