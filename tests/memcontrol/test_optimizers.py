"""Vectors have a learning rate of their own, and both rates scale with the batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memcontrol.cli import main
from memcontrol.errors import MemControlError
from memcontrol.optimizers import OptimizerOptions, make_optimizer
from tests.conf import short_run


def rates(vectors, batch_size=4, **options):
    trainable = {name: nn.Parameter(torch.zeros(2)) for name in ("conv", "norm.a", "linear", "norm.b")}
    optimizer = make_optimizer(trainable, vectors, OptimizerOptions(lr=1e-2, **options), batch_size)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rate_of) == sum(len(group["params"]) for group in optimizer.param_groups)
    return {name: pytest.approx(rate_of[id(parameter)]) for name, parameter in trainable.items()}


NORMS = {"norm.a", "norm.b"}


@pytest.mark.parametrize(
    ("options", "matrices", "vectors"),
    [
        ({"lr_1d": 1e-6}, 1e-2, 1e-6),
        ({"lr_1d": 0.0}, 1e-2, 0.0),
        ({"lr_1d": None}, 1e-2, 1e-2),
        ({"lr_1d": 1e-6, "scale_lr": True}, 4e-2, 4e-6),
        ({"lr_1d": None, "scale_lr": True}, 4e-2, 4e-2),
    ],
)
def test_rates(options, matrices, vectors):
    assert rates(NORMS, **options) == {"conv": matrices, "norm.a": vectors, "linear": matrices, "norm.b": vectors}


def test_without_vectors_all_is_one_rate():
    assert list(rates(set(), lr_1d=1e-6).values()) == [1e-2] * 4


def test_rates_out_of_range_are_refused():
    with pytest.raises(MemControlError, match=r"`optimizer.lr` must be in \(0, inf\), but got 0\.0"):
        OptimizerOptions(lr=0.0)
    with pytest.raises(MemControlError, match=r"`optimizer.lr_1d` must be in \[0, inf\), but got -1\.0"):
        OptimizerOptions(lr=0.1, lr_1d=-1.0)


def test_slots_have_factors_of_their_own():
    trainable = {name: nn.Parameter(torch.zeros(2)) for name in ("a", "b", "norm")}
    optimizer = make_optimizer(trainable, {"norm"}, OptimizerOptions(lr=1e-2, lr_1d=1e-3), 1, {"b": 0.5, "norm": 0.5})
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rate_of[id(p)] for p in trainable.values()] == pytest.approx([1e-2, 5e-3, 5e-4])


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_impossible_factors_are_refused(factor):
    with pytest.raises(MemControlError, match=r"`optimizer.lr_factors.up\*` must be in \(0, inf\)"):
        OptimizerOptions(lr_factors={"up*": factor})


def test_factors_of_slots_in_a_run(tmp_path):
    option = '--model.optimizer.lr_factors={"up_blocks.*": 0.5, "*": 2.0}'
    cli = main(short_run(tmp_path, "--trainer.max_steps=1", "--model.slots=parts", option))
    rate_of = {id(p): g["lr"] for g in cli.trainer.optimizers[0].param_groups for p in g["params"]}
    for name, parameter in cli.model.adapted.trainable().items():
        factor = 0.5 if name.startswith("up_blocks.") else 2.0
        assert rate_of[id(parameter)] == pytest.approx(factor * cli.model.optimizer_options.lr)


def test_a_factor_of_no_slot_is_refused_before_anything_is_loaded(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(short_run(tmp_path, '--model.optimizer.lr_factors={"upper": 0.5}'))
    assert "`model.optimizer.lr_factors` names 'upper', which matches no slot" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))
