"""The gain over the base, image by image, with an interval over patients."""

from __future__ import annotations

import json
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn

from memcontrol.callbacks.baseline import BaselineCallback
from memcontrol.module import MemControlModule

BASE = torch.tensor([1.0, 2.0, 4.0, 3.0, 5.0])
MODEL = torch.tensor([0.5, 1.0, 4.0, 2.0, 5.5])
PATIENTS = [7, 7, 8, 8, 9]


class Module(MemControlModule):
    """Cheap: its held-out errors are those of the base, where it is asked to be the base."""

    def __init__(self):
        LightningModule.__init__(self)
        self.is_base, self.asked, self.logged = False, [], {}

    @property
    def adapted(self):
        return SimpleNamespace(as_base=self.as_base)

    @contextmanager
    def as_base(self):
        self.is_base = True
        yield
        self.is_base = False

    def heldout_errors(self, batch):
        self.asked += batch["index"].tolist()
        return (BASE if self.is_base else MODEL)[batch["index"]]

    def log_dict(self, values, **options):
        self.logged |= values


@pytest.fixture
def trainer(tmp_path):
    table = pd.DataFrame({"subject_id": PATIENTS})
    return SimpleNamespace(
        sanity_checking=False,
        precision_plugin=SimpleNamespace(forward_context=nullcontext),
        datamodule=SimpleNamespace(table={"validate": table}.__getitem__),
        log_dir=str(tmp_path),
        is_global_zero=True,
        state=SimpleNamespace(fn=TrainerFn.FITTING),
    )


def validate(callback, trainer, module, model):
    callback.on_validation_epoch_start(trainer, module)
    for index in (torch.tensor([3, 0, 4]), torch.tensor([2, 1])):
        callback.on_validation_batch_end(trainer, module, {"errors": model[index]}, {"index": index}, 0)
    callback.on_validation_epoch_end(trainer, module)
    callback.on_validation_end(trainer, module)


def test_gain_is_base_minus_model(trainer):
    callback, module = BaselineCallback(), Module()
    validate(callback, trainer, module, MODEL)
    logged = module.logged
    assert logged["val/loss_base"] == pytest.approx(3.0)
    assert logged["val/gain"] == pytest.approx(0.4)  # gains 0.5 and 1, 0 and 1, -0.5 of three patients
    assert logged["val/gain_low"] < -0.1 < 0.7 < logged["val/gain_high"]


def test_base_is_asked_once_and_the_last_validation_is_written(trainer, tmp_path):
    callback, module = BaselineCallback(), Module()
    validate(callback, trainer, module, MODEL)
    validate(callback, trainer, module, BASE - 0.25)
    assert sorted(module.asked) == [0, 1, 2, 3, 4]
    callback.on_fit_end(trainer, module)
    written = json.loads((tmp_path / "heldout.json").read_text())
    assert written == {
        "val/loss_base": pytest.approx(3.0),
        "val/loss": pytest.approx(2.75),
        "val/gain": pytest.approx(0.25),
        "val/gain_low": pytest.approx(0.25),
        "val/gain_high": pytest.approx(0.25),
        "patients": 3,
    }


def test_images_that_are_no_longer_validated_do_not_count(trainer):
    callback, module = BaselineCallback(), Module()
    validate(callback, trainer, module, MODEL)
    callback.on_validation_epoch_start(trainer, module)
    index = torch.tensor([1])
    callback.on_validation_batch_end(trainer, module, {"errors": MODEL[index]}, {"index": index}, 0)
    callback.on_validation_epoch_end(trainer, module)
    assert module.logged["val/gain"] == pytest.approx(1.0)


def test_sanity_check_and_other_modules_leave_nothing(trainer, tmp_path):
    module, other = Module(), LightningModule()
    trainer.sanity_checking = True
    callback = BaselineCallback()
    validate(callback, trainer, module, MODEL)
    trainer.sanity_checking = False
    validate(callback, trainer, other, MODEL)
    callback.on_fit_end(trainer, module)
    assert module.logged == {}
    assert list(tmp_path.iterdir()) == []
