"""Options of training that users combine, each through the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from memcontrol.adapters import SVDiffConfig, adapt, resolve_mask
from memcontrol.cli import build, main
from memcontrol.diffusion.bases import build_skeleton
from memcontrol.diffusion.codecs import LatentCodec
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.diffusion.texts import TextCodec
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.measures import ScoringOptions
from memcontrol.module import MemControlModule
from tests.conf import short_run
from tests.memcontrol.data.test_sources import make_mimic, write_image


@pytest.mark.parametrize(
    "change",
    [
        "--trainer.precision=bf16-mixed --model.gradient_checkpointing=true --trainer.accumulate_grad_batches=2",
        pytest.param(
            "--trainer.precision=16-mixed --config=logger/tensorboard.yaml "
            "--model.snr_gamma=5 --model.noise_offset=0.1 --model.input_perturbation=0.1",
            marks=pytest.mark.whole,
        ),
        "--data.cache.enabled=false --data.transform.crop=random --data.transform.flip=true --data.num_workers=2",
    ],
)
def test_options_train(tmp_path, change):
    args = short_run(tmp_path)
    logger = f"--trainer.logger.save_dir={tmp_path}"
    main([a for a in args if a != logger] + [logger, *change.split()])
    (run,) = tmp_path.rglob("checkpoints")
    card, weights = read_checkpoint(find_checkpoint(run.parent))
    assert card.step == 6
    assert all(w.isfinite().all() for w in weights.values())
    assert any(w.abs().max() > 0 for w in weights.values())


@pytest.mark.whole
def test_warm_step_calls_neither_encoder(tmp_path, monkeypatch):
    """Calls after the cache is filled come from nowhere but the sample grid, which this run leaves out."""
    main(short_run(tmp_path))
    calls: list[str] = []
    for codec in (LatentCodec, TextCodec):
        encode = codec.encode
        monkeypatch.setattr(
            codec, "encode", lambda self, x, encode=encode: calls.append(type(self).__name__) or encode(self, x)
        )
    args = [a for a in short_run(tmp_path) if "callbacks" not in a]
    main([*args, "--trainer.callbacks=null", "--trainer.limit_val_batches=0"])
    assert calls == ["TextCodec"]  # the empty caption, once, before the first step


def test_one_changed_image_refills_one_entry(tmp_path, monkeypatch):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(16):
        write_image(folder / f"{i}.png", i)
    rows = {"file_name": [f"{i}.png" for i in range(16)], "text": "x-ray", "subject_id": range(16)}
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)
    args = [
        "fit", "--config=cxr.yaml", f"--data.root={folder}", "--model.base=embedded", "--trainer.accelerator=cpu",
        "--trainer.max_steps=1", "--trainer.val_check_interval=1", "--data.batch_size=4", "--trainer.callbacks=null",
        f"--data.cache.folder={tmp_path / 'cache'}", f"--trainer.logger.save_dir={tmp_path}", "--model.eval_draws=1",
    ]  # fmt: skip
    encoded: list[int] = []
    encode = LatentCodec.encode
    monkeypatch.setattr(LatentCodec, "encode", lambda self, x: encoded.append(len(x)) or encode(self, x))
    for expected in (13, 0, 1):  # train and validate; nothing; the image that changed
        encoded.clear()
        main(args)
        assert sum(encoded) == expected
        table = pd.read_csv(folder / "metadata.csv")
        if expected == 0:
            train = _train_file(table, str(folder))
            write_image(folder / train, 99)


def _train_file(table, root):
    from memcontrol.data.imagefolder import ImageFolderDataModule

    data = ImageFolderDataModule(root, split_fractions=[0.6, 0.2, 0.2])
    data.setup("fit")
    return data.table("train")["path"].iat[0].rsplit("/", 1)[-1]


def test_mimic_config_trains_on_the_official_layout(tmp_path):
    root, reports = make_mimic(tmp_path / "mimic", num_studies=12)
    main(
        [
            "fit", "--config=mimic.yaml", f"--data.root={root}", f"--data.reports={reports}",
            "--model.base=embedded", "--data.data_fraction=1", "--data.memorization.num_images=2",
            "--data.num_workers=0", "--data.batch_size=4", "--data.transform.size=64", "--model.sampling.steps=2",
            "--trainer.accelerator=cpu", "--trainer.precision=32", "--trainer.accumulate_grad_batches=1",
            "--trainer.max_steps=8", "--trainer.val_check_interval=8", f"--trainer.logger.save_dir={tmp_path}",
            f"--data.cache.folder={tmp_path / 'cache'}", "--model.optimizer.lr=5e-3",
        ]
    )  # fmt: skip
    run = tmp_path / "mimic" / "version_0"
    assert (run / "heldout.json").is_file()
    assert list((run / "samples").glob("*.png"))
    assert find_checkpoint(run).is_file()


@pytest.mark.whole
def test_validate_and_test_score_base_and_checkpoint(tmp_path):
    main(short_run(tmp_path, "--model.optimizer.lr=2e-2", "--trainer.max_steps=12"))
    run = tmp_path / "demo" / "version_0"
    common = [
        "--data.num_subjects=24",
        "--data.split_fractions=[0.5,0.25,0.25]",
        f"--data.cache.folder={tmp_path / 'cache'}",
        "--model.eval_draws=1",
    ]
    losses = {}
    for command, name in (("validate", "val/loss"), ("test", "test/loss")):
        for ckpt in ([], [f"--ckpt_path={run}"]):
            logger = f"--trainer.logger.save_dir={tmp_path / command / str(len(ckpt))}"
            cli = main([command, "--config=demo.yaml", logger, *common, *ckpt])
            losses[command, len(ckpt)] = float(cli.trainer.callback_metrics[name])
    assert losses["validate", 1] < losses["validate", 0]
    assert losses["test", 1] < losses["test", 0]
    assert losses["validate", 1] == pytest.approx(json.loads((run / "heldout.json").read_text())["val/loss"], abs=1e-5)


def test_svdiff_checkpoint_of_sd15_is_small(tmp_path, monkeypatch):
    monkeypatch.setattr("memcontrol.module.recipe_of", lambda *_: {})
    unet = build_skeleton("sd15")
    layout, mask = resolve_mask(unet, "paper13", "all")
    adapted = adapt(unet, SVDiffConfig(), layout, mask)
    card = SimpleNamespace(to_dict=dict)
    module = SimpleNamespace(adapted=adapted, trainer=None, card=lambda: card, mitigations=[], privacy=None)
    trained = adapted.trainable()
    weights = {f"unet.{name}": torch.zeros(value.shape) for name, value in trained.items()}
    content = {"state_dict": {**weights, "unet.conv_in.weight": torch.zeros(1_000_000)}}
    MemControlModule.on_save_checkpoint(module, content)
    torch.save(content, tmp_path / "x.ckpt")
    assert {*content["state_dict"]} == {*weights}
    assert 5e5 < (tmp_path / "x.ckpt").stat().st_size < 3e6


@pytest.mark.whole
def test_last_weights_are_validated_though_epochs_end_within_an_accumulation(tmp_path):
    every = ["--trainer.accumulate_grad_batches=2", "--trainer.max_steps=5", "--trainer.val_check_interval=4"]
    main(short_run(tmp_path, *every, "--data.num_subjects=44"))  # five batches to an epoch: three steps
    metrics = pd.read_csv(tmp_path / "demo" / "version_0" / "metrics.csv")
    validated = metrics.loc[metrics["val/loss"].notna(), "step"].tolist()
    assert validated == [1, 4, 4]  # after batches 4, 8 and 9, where the fifth step ends; Lightning counts from 0


@pytest.mark.whole
def test_training_without_an_end_needs_a_schedule_without_one(tmp_path, capsys):
    endless = ["--trainer.max_steps=-1", "--trainer.max_time=00:00:00:02"]
    main(short_run(tmp_path, *endless, "--trainer.limit_val_batches=0"))
    assert (tmp_path / "demo" / "version_0" / "adapter").is_dir()
    with pytest.raises(SystemExit):
        main(short_run(tmp_path, *endless, "--model.optimizer.schedule=cosine"))
    assert "must know where training ends" in capsys.readouterr().err


def test_a_job_finds_no_requeue_checkpoint_of_another(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert build(short_run(tmp_path)[1:]).trainer.default_root_dir.endswith("runs/slurm/17-3")
    root = f"--trainer.default_root_dir={tmp_path}"
    assert build(short_run(tmp_path, root)[1:]).trainer.default_root_dir == str(tmp_path)


def test_mitigations_at_inference_stay_when_scoring_says_how_to_draw():
    model = SamplingOptions(steps=50, guidance_start=0.2)
    assert ScoringOptions(sampling=SamplingOptions(steps=5)).sampling_of(model) == replace(model, steps=5)
    assert ScoringOptions().sampling_of(model) == model
