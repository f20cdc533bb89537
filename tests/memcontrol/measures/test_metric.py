"""What a torchmetrics metric is fed, and what is made of its answer."""

from __future__ import annotations

import pytest
import torch
from torchmetrics import MeanMetric, Metric

from memcontrol.errors import RewardError
from memcontrol.measures.metric import MetricReward


class Recorder(Metric):
    higher_is_better = True

    def __init__(self):
        super().__init__()
        self.calls = []

    def update(self, images, *args, **kwargs):
        self.calls.append((round(float(images.max()), 2), str(images.dtype), args, kwargs))

    def compute(self):
        return torch.tensor(0.25), torch.tensor(9.0)

    def reset(self):
        super().reset()
        self.calls.append("reset")


GENERATED, REAL = torch.full((2, 3, 4, 4), 0.4), torch.full((2, 3, 4, 4), 0.6)
TRAINING = [torch.full((2, 3, 4, 4), 0.8), torch.full((1, 3, 4, 4), 1.0)]
TEXTS = ["a", "b"]


def fed(inputs, **options):
    metric = Recorder()
    reward = MetricReward("m", metric, inputs, **options)
    metric.calls.clear()
    assert reward(GENERATED, REAL, TEXTS, iter(TRAINING)) == 0.25  # the first of a tuple
    return metric.calls


def call(value, *args, dtype="torch.float32", **kwargs):
    return (value, dtype, args, kwargs)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("images", [call(0.4)]),
        ("images_and_texts", [call(0.4, TEXTS)]),
        ("real_and_generated", [call(0.6, real=True), call(0.4, real=False)]),
        (
            "with_training",
            [call(0.6, real=True), call(0.4, real=False), call(0.8, training=True), call(1.0, training=True)],
        ),
    ],
)
def test_inputs(inputs, expected):
    assert fed(inputs) == ["reset", *expected]


def test_as_bytes():
    def byte(value, **kwargs):
        return call(value, dtype="torch.uint8", **kwargs)

    expected = [byte(153, real=True), byte(102, real=False), byte(204, training=True), byte(255, training=True)]
    assert fed("with_training", as_bytes=True) == ["reset", *expected]
    assert fed("images", as_bytes=True) == ["reset", byte(102)]


def test_bytes_are_rounded():
    reward = MetricReward("m", MeanMetric(), as_bytes=True, higher_is_better=True)
    assert reward(torch.full((1, 3, 2, 2), 0.999), REAL, TEXTS) == 255


def test_reset_before_each_call():
    reward = MetricReward("mean", MeanMetric(), higher_is_better=True)
    assert reward(torch.ones(1, 3, 2, 2), REAL, TEXTS) == 1
    assert reward(torch.zeros(1, 3, 2, 2), REAL, TEXTS) == 0


def test_direction():
    assert MetricReward("m", Recorder()).direction is True
    assert MetricReward("m", Recorder(), higher_is_better=False).direction is False
    with pytest.raises(RewardError, match=r"`m` \(MeanMetric\) does not say which direction is better"):
        MetricReward("m", MeanMetric())
