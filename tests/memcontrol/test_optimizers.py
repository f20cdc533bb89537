"""Vectors have a learning rate of their own, and both rates scale with the batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memcontrol.errors import MemControlError
from memcontrol.optimizers import OptimizerOptions, make_optimizer


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
