"""Whole private runs: what they refuse, keep, spend and give away."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import memcontrol.api as mc
from memcontrol.audit.run import _trained_on
from memcontrol.cli import main
from memcontrol.data.patients import recorded_training_set
from memcontrol.errors import GuaranteeError
from memcontrol.files.card import CARD_KEY, Card
from memcontrol.files.checkpoints import find_checkpoint
from memcontrol.privacy import Guarantee
from memcontrol.privacy import training as private_training
from memcontrol.privacy.accounting import Steps
from memcontrol.privacy.guarantee import guarantee_of, rounded_up
from memcontrol.privacy.secret import Secret
from memcontrol.privacy.training import PrivateTraining
from tests.conf import short_run

PRIVATE = ("--model.privacy.epsilon=6", "--model.privacy.delta=1e-3", "--model.privacy.draws=2", "--data.batch_size=4")


def private_run(folder, *extra):
    return short_run(folder, *PRIVATE, "--data.memorization.num_images=0", "--data.max_train_images=null",
                     "--trainer.max_steps=4", *extra)  # fmt: skip


def weights_of(folder):
    path = find_checkpoint(folder / "demo" / "version_0")
    return torch.load(path, map_location="cpu", weights_only=True)


@pytest.fixture
def same_key(monkeypatch):
    """Inject the key that all noise and all coins follow from."""
    real = PrivateTraining.__init__
    monkeypatch.setattr(
        PrivateTraining, "__init__", lambda self, options, secret=None: real(self, options, Secret(b"t" * 32))
    )


def test_a_run_says_what_it_spent_and_its_key_is_gone(tmp_path, capsys):
    main(private_run(tmp_path))
    run = tmp_path / "demo" / "version_0"
    said = json.loads((run / "privacy.json").read_text())["guarantee"]
    assert said["steps"] == 4
    assert said["patients"] == 12
    assert said["rate"] == pytest.approx(4 / 12)
    assert 5.5 < said["epsilon"] <= 6
    checkpoint = weights_of(tmp_path)
    assert checkpoint[CARD_KEY]["privacy"] == said
    card = Card.read(run / "adapter")
    assert guarantee_of(card) == Guarantee.from_dict(said)
    assert card.training_set is None  # who guesses the set could test for a patient
    source = SimpleNamespace(card=card, path=run)
    assert _trained_on(source) == recorded_training_set(run) is not None  # an audit in the house knows
    assert (card.images, card.patients) == (None, 12)
    assert "differential privacy per patient" in (run / "adapter" / "README.md").read_text()
    assert not (run / "privacy.key").exists()
    metrics = (run / "metrics.csv").read_text()
    assert "privacy/epsilon" in metrics
    assert "train/loss" not in metrics  # it is not noised
    written = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    main(["export", "--ckpt_path", str(run), "--output", str(tmp_path / "out")])
    assert "differential privacy per patient" in (tmp_path / "out" / "README.md").read_text()
    assert written


def test_nothing_that_is_written_holds_the_key(tmp_path, same_key, monkeypatch):
    monkeypatch.setattr(PrivateTraining, "end", lambda self, trainer: None)  # as if it were killed before
    main(private_run(tmp_path))
    run = tmp_path / "demo" / "version_0"
    holding = [p.name for p in tmp_path.rglob("*") if p.is_file() and b"t" * 32 in p.read_bytes()]
    assert holding in ([], ["privacy.key"])
    main(["export", "--ckpt_path", str(run), "--output", str(tmp_path / "out")])
    assert not list((tmp_path / "out").rglob("privacy.*"))


@pytest.mark.whole
def test_two_runs_of_one_seed_have_different_noise(tmp_path):
    for name in ("a", "b"):
        main(private_run(tmp_path / name, "--trainer.max_steps=2", "--trainer.val_check_interval=2"))
    a, b = (weights_of(tmp_path / name)["state_dict"] for name in ("a", "b"))
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_killed_and_resumed_is_bit_equal_and_has_spent_the_same(tmp_path, monkeypatch):
    key = b"r" * 32
    monkeypatch.setattr(private_training.Secret, "__init__", _with_key(key))
    main(private_run(tmp_path / "whole"))
    cut = private_run(tmp_path / "cut")
    monkeypatch.setattr("memcontrol.privacy.training.PrivateTraining.write_gradients", _killed_after(3))
    with pytest.raises(RuntimeError, match="killed"):
        main(cut)
    run = tmp_path / "cut" / "demo" / "version_0"
    assert (run / "privacy.key").stat().st_mode & 0o777 == 0o600
    monkeypatch.undo()
    main([*cut, f"--ckpt_path={run}"])  # the key is read from the run folder
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    assert whole["global_step"] == resumed["global_step"] == 4
    assert all(torch.equal(whole["state_dict"][n], resumed["state_dict"][n]) for n in whole["state_dict"])
    assert whole[CARD_KEY]["privacy"] == resumed[CARD_KEY]["privacy"]


def _with_key(key):
    def init(self, given=None, context=""):
        self.key, self.context = given or key, context

    return init


def _killed_after(steps):
    real = PrivateTraining.write_gradients

    def write(self, trainer, trained):
        if trainer.global_step >= steps:
            raise RuntimeError("killed")
        real(self, trainer, trained)

    return write


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A private run of four steps whose key is kept, as after a kill."""
    folder = tmp_path_factory.mktemp("private")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PrivateTraining, "end", lambda self, trainer: None)
        main(private_run(folder))
    return folder


def resumed(interrupted, tmp_path, capsys, *extra, change=None):
    """Go on with a copy of the run, and return what is said."""
    copy = tmp_path / "copy"
    shutil.copytree(interrupted, copy)
    run = copy / "demo" / "version_0"
    if change is not None:
        path = find_checkpoint(run)
        checkpoint = torch.load(path, weights_only=True)
        change(checkpoint)
        for other in path.parent.glob("*.ckpt"):
            torch.save(checkpoint, other)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*private_run(copy), f"--ckpt_path={run}", "--trainer.max_steps=6", *extra])
    return capsys.readouterr().err


def test_a_checkpoint_that_claims_less_than_its_steps_cost_is_refused(interrupted, tmp_path, capsys):
    def change(checkpoint):
        checkpoint[CARD_KEY]["privacy"]["epsilon"] = 1.0

    assert "claim epsilon 1" in resumed(interrupted, tmp_path, capsys, change=change)


def test_a_budget_that_is_not_restored_is_refused(interrupted, tmp_path, capsys):
    def change(checkpoint):
        checkpoint[CARD_KEY]["privacy"]["steps"] = 0
        checkpoint[CARD_KEY]["privacy"]["epsilon"] = 0.0

    assert "counts 0 steps" in resumed(interrupted, tmp_path, capsys, change=change)


def test_a_checkpoint_without_a_bound_gets_none(interrupted, tmp_path, capsys):
    assert "trained without `model.privacy`" in resumed(
        interrupted, tmp_path, capsys, change=lambda checkpoint: checkpoint[CARD_KEY].pop("privacy")
    )


def test_a_run_that_goes_on_cannot_change_its_budget(interrupted, tmp_path, capsys):
    assert "`model.privacy`" in resumed(interrupted, tmp_path, capsys)  # more steps need other noise


def test_a_run_that_goes_on_cannot_change_what_its_steps_give_away(interrupted, tmp_path, capsys):
    said = resumed(interrupted, tmp_path, capsys, "--trainer.max_steps=4", "--model.snr_gamma=5")
    assert "`model.snr_gamma` None, but the config says 5" in said


def test_deep_images_need_a_range_that_no_patient_changes():
    data = SimpleNamespace(num_deep=3, is_range_given=False)
    with pytest.raises(GuaranteeError, match=r"data\.value_range"):
        private_training._refuse_data(data)


@pytest.mark.whole
def test_a_module_is_trained_once(tmp_path):
    data = mc.PhantomDataModule(
        num_subjects=24, split_fractions=[0.5, 0.25, 0.25], batch_size=4, transform=mc.Transform(size=64)
    )
    bound = mc.PrivacyOptions(epsilon=6.0, delta=1e-3, draws=1)
    module = mc.MemControlModule(adapter=mc.SVDiffConfig(), eval_draws=1, privacy=bound)
    mc.fit(module, data, max_steps=2, folder=tmp_path / "runs", progress=False)
    with pytest.raises(GuaranteeError, match="has been trained before"):
        mc.fit(module, data, max_steps=2, folder=tmp_path / "runs", progress=False)
    plain = mc.MemControlModule(adapter=mc.SVDiffConfig(), eval_draws=1)
    mc.fit(plain, data, max_steps=2, folder=tmp_path / "runs", progress=False)  # the data is as it was
    assert type(plain.trainer.train_dataloader.sampler).__name__ == "EpochSampler"


def test_batches_that_no_coin_has_made_are_refused(tmp_path, monkeypatch, capsys):
    from memcontrol.data.base import CaptionedImageDataModule

    monkeypatch.setattr(CaptionedImageDataModule, "take_patients", lambda *_: None)
    with pytest.raises(SystemExit):
        main(private_run(tmp_path))
    assert "batches are chosen by EpochSampler" in capsys.readouterr().err


def test_a_private_run_does_not_go_on_without_its_bound(interrupted, tmp_path, capsys):
    said = resumed(interrupted, tmp_path, capsys, "--model.privacy=null")
    assert "which a run without would end" in said


def test_a_lost_key_is_not_replaced(interrupted, tmp_path, capsys):
    copy = tmp_path / "lost"
    shutil.copytree(interrupted, copy)
    run = copy / "demo" / "version_0"
    (run / "privacy.key").unlink()
    with pytest.raises(SystemExit):
        main([*private_run(copy), f"--ckpt_path={run}"])
    assert "privacy.key cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--trainer.accumulate_grad_batches=2"], "accumulate_grad_batches` is 2"),
        (["--trainer.precision=16-true"], "trainer.precision` is 16-true"),
        (["--model.privacy.delta=0.2"], "must be below 1 / 12"),
        (["--model.mitigations=[{class_path: memcontrol.mitigation.PriorPreservation}]"], "PriorPreservation"),
        (
            ["--model.mitigations=[{class_path: NoiseNormThreshold, init_args: {quantile: 0.9}}]"],
            "NoiseNormThreshold",
        ),
        (["--trainer.callbacks+={class_path: callbacks.RewardsCallback}"], "membership_auc"),
        (["--trainer.callbacks+={class_path: callbacks.DuplicateWeights}"], "weights of near copies"),
        (
            ["--model.adapter={class_path: peft.LoraConfig, init_args: {r: 2, lora_dropout: 0.1}}"],
            "`lora_dropout` of `model.adapter` is above 0",
        ),
        (["--trainer.max_steps=-1", "--trainer.max_epochs=1"], "Set `trainer.max_steps`"),
        (["--data.memorization.num_images=2"], "data.memorization"),
        (["--data.max_train_images=8"], "data.max_train_images"),
        (["--data.data_fraction=0.5"], "data.data_fraction"),
        (["--model.ambient=0.5"], "model.ambient"),
        (["--model.privacy.canaries=100000000"], "parameters are trained"),
        (["--model.privacy.noise_multiplier=1"], "either `epsilon`"),
    ],
)
def test_what_the_bound_does_not_cover_is_refused_before_training(tmp_path, capsys, extra, said):
    with pytest.raises(SystemExit):
        main(private_run(tmp_path, *extra))
    assert said in capsys.readouterr().err


def test_a_metric_that_is_fed_training_images_is_no_quality_for_private_training():
    from torchmetrics import MeanMetric

    from memcontrol.measures.metric import MetricMeasure, MetricReward

    fed = {
        inputs: MetricMeasure(MetricReward("m", MeanMetric(), inputs, higher_is_better=True)).sees_training
        for inputs in ("real_and_generated", "with_training")
    }
    assert fed == {"real_and_generated": False, "with_training": True}


def test_a_step_that_is_not_the_last_says_what_the_whole_training_cost():
    first = Guarantee.of(Steps(75, 0.1, 1.0), 1e-4, 1.0, 600, 4, "pld", planned=300)
    whole = Guarantee.of(Steps(300, 0.1, 1.0), 1e-4, 1.0, 600, 4, "pld", planned=300)
    assert first.epsilon < whole.epsilon
    assert f"chosen by what came after them, epsilon is {rounded_up(whole.epsilon)}" in str(first)
    assert "chosen" not in str(whole)
    older = {name: value for name, value in whole.to_dict().items() if name != "planned"}
    assert Guarantee.from_dict(older).epsilon == whole.epsilon


def test_images_without_patients_are_the_unit_and_not_patients(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(16):
        noise = np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    rows = "".join(f"{number}.png,a caption\n" for number in range(16))
    (folder / "metadata.csv").write_text("file_name,text\n" + rows)
    data = (
        "--data=memcontrol.data.imagefolder.ImageFolderDataModule", f"--data.root={folder}",
        "--data.each_image_a_subject=true", "--data.transform.size=32", "--data.split_fractions=[0.5,0.25,0.25]",
        f"--data.cache.folder={tmp_path / 'cache'}",
    )  # fmt: skip
    args = [arg for arg in private_run(tmp_path) if not arg.startswith("--data.")]
    main([*args, *data, "--data.batch_size=4", "--data.memorization.num_images=0", "--data.max_train_images=null"])
    said = json.loads((tmp_path / "demo" / "version_0" / "privacy.json").read_text())["guarantee"]
    assert "differential privacy per image" in str(Guarantee.from_dict(said))


def test_one_person_under_two_ids_is_refused(tmp_path, monkeypatch, capsys):
    from memcontrol.data.base import CaptionedImageDataModule

    real = CaptionedImageDataModule.table

    def with_a_second_id(self, split):
        table = real(self, split).copy()
        table.loc[table.index[1], "content"] = table["content"].iat[0]
        table.loc[table.index[1], "subject_id"] = "second"
        return table

    monkeypatch.setattr(CaptionedImageDataModule, "table", with_a_second_id)
    with pytest.raises(SystemExit):
        main(private_run(tmp_path))
    assert "one person under two ids" in capsys.readouterr().err


@pytest.mark.whole
def test_quality_may_be_measured_on_held_out_patients(tmp_path):
    rewards = (
        "--trainer.callbacks+={class_path: callbacks.RewardsCallback, init_args: {scoring: "
        "{measures: [heldout_loss, kid], num_images: 8, num_probes: 0, draws: 1, sampling: {steps: 1}, "
        "encoder: {class_path: memcontrol.measures.encoders.ThumbnailEncoder}}}}"
    )
    main(private_run(tmp_path, rewards))
    assert "kid" in (tmp_path / "demo" / "version_0" / "rewards.jsonl").read_text()


@pytest.mark.whole
def test_two_processes_add_the_noise_once(tmp_path):
    key = ("--trust-config", "--trainer.callbacks+=tests.killer.SameKey", "--trainer.gradient_clip_val=null")
    plain = ("--model.optimizer.lr=1e-3", *key)
    ranks = ("--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=2")
    once = ("--model.privacy.epsilon=.inf", "--trainer.max_steps=1", "--trainer.val_check_interval=1")
    main(private_run(tmp_path / "one", *plain, *once))
    for name, extra in (("two", once), ("noisy", ("--model.privacy.epsilon=0.05",))):
        args = private_run(tmp_path / name, *plain, *ranks, *extra)
        subprocess.run([sys.executable, "train.py", *args], check=True, capture_output=True, timeout=300)
    one, two, noisy = (weights_of(tmp_path / name) for name in ("one", "two", "noisy"))
    assert one[CARD_KEY]["privacy"] == two[CARD_KEY]["privacy"]
    states = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (one, two, noisy)]
    moments = [torch.cat([part["exp_avg"].flatten() for part in state.values()]).double() for state in states]
    assert float((moments[0] - moments[1]).norm()) <= 1e-5 * float(moments[0].norm())  # of one step: its gradient
    found = moments[2].std()
    of_step = (
        noisy[CARD_KEY]["privacy"]["noise_multiplier"] * noisy[CARD_KEY]["privacy"]["clip"] / 4
    )  # 4 patients expected
    expected = of_step * 0.1 * sum(0.9 ** (2 * i) for i in range(4)) ** 0.5  # AdamW's first moment after four steps
    assert float(found) == pytest.approx(expected, rel=0.03)  # 15,473 parameters; twice the noise would be 1.41


def audited(tmp_path, name, *extra):
    main(
        private_run(
            tmp_path / name, "--model.privacy.epsilon=2", "--model.privacy.delta=1e-5", "--model.privacy.canaries=5000",
            "--model.privacy.draws=1", "--data.batch_size=64", "--trainer.val_check_interval=4",
            "--model.privacy.microbatch=12", *extra,
        )
    )  # fmt: skip
    return json.loads((tmp_path / name / "demo" / "version_0" / "privacy.json").read_text())["canaries"]


def test_canaries_find_noise_that_is_too_small_by_three(tmp_path, monkeypatch):
    real = Secret.normal
    monkeypatch.setattr(Secret, "normal", lambda self, like, *parts: real(self, like, *parts) / 3)
    assert audited(tmp_path, "quiet")["epsilon"] > 2


def test_canaries_find_that_nothing_is_clipped(tmp_path, monkeypatch):
    monkeypatch.setattr("memcontrol.privacy.clipping.clip_factors", lambda norms, clip: torch.ones_like(norms))
    assert audited(tmp_path, "loud")["epsilon"] > 2


@pytest.mark.whole
@pytest.mark.parametrize("number", range(2))
def test_canaries_accuse_no_sound_run(tmp_path, number):
    found = audited(tmp_path, f"sound{number}")
    assert found["epsilon"] < 2
    assert found["most"] > 4  # it could have shown that much


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_canaries_accuse_none_of_twenty_sound_runs(tmp_path, number):
    assert audited(tmp_path, "sound")["epsilon"] < 2


def test_errors_are_ours():
    assert issubclass(GuaranteeError, ValueError)
