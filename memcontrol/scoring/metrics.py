"""Metrics of torchmetrics or of a user as measures."""

from __future__ import annotations

from memcontrol.data.features import split_pixels
from memcontrol.rewards.functional.intervals import Interval
from memcontrol.rewards.metric import MetricReward
from memcontrol.scoring.evidence import Evidence
from memcontrol.scoring.measures.record import Measure
from memcontrol.scoring.real import RealImages

__all__ = ["metric_measures"]


def metric_measures(metrics: list[MetricReward], evidence: Evidence, real: RealImages) -> list[Measure]:
    """Feed metrics with what was drawn for held-out prompts, and with held-out images at equal n."""
    drawn = evidence.heldout
    if drawn is None or not metrics:
        return []
    texts = real.texts(real.heldout)
    rows = sorted(set(drawn.rows))
    pixels = split_pixels(real.data, real.heldout, rows)
    found = []
    for reward in metrics:
        value = reward(drawn.images, pixels, [texts[row] for row in drawn.rows])
        interval = Interval(value, float("nan"), float("nan"), len(rows))
        note = "no interval: a metric that is not ours"
        found.append(Measure(reward.name, "quality", interval, None, bool(reward.direction), None, note))
    return found
