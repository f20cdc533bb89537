"""Metrics of torchmetrics or of a user as measures."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from memcontrol.data.features import split_pixels
from memcontrol.rewards.functional.intervals import Interval
from memcontrol.rewards.metric import MetricReward
from memcontrol.scoring.evidence import Evidence
from memcontrol.scoring.measures.record import Measure
from memcontrol.scoring.real import RealImages

__all__ = ["metric_measures"]


def metric_measures(metrics: list[MetricReward], evidence: Evidence, real: RealImages) -> list[Measure]:
    """Feed metrics with what was drawn, with held-out images at equal n, and with training images where they ask."""
    if evidence.heldout is None or evidence.train is None:
        return []
    pixels = split_pixels(real.data, real.heldout, sorted(set(evidence.heldout.rows)))
    found = []
    for reward in metrics:
        split = "train" if reward.group == "memorization" else real.heldout
        drawn = evidence.train if reward.group == "memorization" else evidence.heldout
        texts = real.texts(split)
        value = reward(drawn.images, pixels, [texts[row] for row in drawn.rows], _training(real))
        interval = Interval(value, float("nan"), float("nan"), len(set(drawn.subjects)))
        note = "no interval: a metric that is not ours"
        found.append(Measure(reward.name, reward.group, interval, None, bool(reward.direction), None, note))
    return found


def _training(real: RealImages, block: int = 256) -> Iterator[Tensor]:
    count = len(real.training)
    for start in range(0, count, block):
        yield split_pixels(real.data, "train", list(range(start, min(start + block, count))))
