"""Any metric of torchmetrics, or of a user, as a measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from memcontrol.data.features import split_pixels
from memcontrol.errors import RewardError
from memcontrol.measures.aggregators import Figure, Values
from memcontrol.measures.measure import Measure, Scene
from memcontrol.measures.measurement import Measurement
from memcontrol.measures.needs import Evidence
from memcontrol.measures.real import RealImages
from memcontrol.measures.samples import Samples
from memcontrol.measures.statistics.intervals import Interval

__all__ = ["MetricMeasure", "MetricReward"]


@dataclass(frozen=True)
class MetricReward:
    """A metric with what it is fed.

    Args:
        name: Name of the measure, e.g. `clip_score`.
        metric: The metric; it takes images with shape `(B, 3, H, W)`, values in [0, 1].
        inputs: `images` calls `update(generated)`, `real_and_generated` calls `update(images, real=...)` as FID and
            KID do, `images_and_texts` calls `update(generated, captions)` as CLIPScore does, and `with_training` calls
            `update(images, training=True)` with training images too.
        group: `quality` is measured on what is sampled for held-out prompts, `memorization` for training prompts.
        higher_is_better: Direction, where the metric does not say.
        as_bytes: Whether the metric takes bytes in [0, 255].

    Raises:
        RewardError: If nobody says which direction is better.
    """

    name: str
    metric: Metric
    inputs: Literal["images", "real_and_generated", "images_and_texts", "with_training"] = "images"
    group: Literal["quality", "memorization"] = "quality"
    higher_is_better: bool | None = None
    as_bytes: bool = False

    def __post_init__(self) -> None:
        """Check the direction."""
        if self.direction is None:
            raise RewardError(
                f"The metric `{self.name}` ({type(self.metric).__name__}) does not say which direction is better. Give "
                "`higher_is_better: true` or `false`."
            )

    @property
    def direction(self) -> bool | None:
        """Whether higher is better."""
        return self.higher_is_better if self.higher_is_better is not None else self.metric.higher_is_better

    def __call__(self, generated: Tensor, real: Tensor, texts: list[str], training: Iterable[Tensor] = ()) -> float:
        """Score generated images; the metric is reset before.

        Args:
            generated: Generated images with shape `(n, 3, H, W)`, values in [0, 1].
            real: Held-out images, likewise.
            texts: Caption of each generated image.
            training: Batches of training images, likewise; read for `with_training` only.
        """
        self.metric.reset()
        generated, real = self._typed(generated), self._typed(real)
        if self.inputs == "images":
            self.metric.update(generated)
        elif self.inputs == "images_and_texts":
            self.metric.update(generated, texts)
        else:
            self.metric.update(real, real=True)
            self.metric.update(generated, real=False)
        if self.inputs == "with_training":
            for images in training:
                self.metric.update(self._typed(images), training=True)
        value = self.metric.compute()
        return float(value[0] if isinstance(value, tuple) else value)

    def _typed(self, images: Tensor) -> Tensor:
        return (images * 255).round().to(torch.uint8) if self.as_bytes else images


class MetricMeasure(Measure):
    """A metric as a measure, without an interval.

    Args:
        reward: The metric with what it is fed.
    """

    aggregator = Figure(lambda values: float("nan"))
    words = "a metric of the config"

    def __init__(self, reward: MetricReward) -> None:
        self.reward = reward
        self.name = reward.name  # type: ignore[misc]
        self.group = reward.group  # type: ignore[misc]
        self.higher_is_better = bool(reward.direction)  # type: ignore[misc]
        self.samples = Samples("train" if reward.group == "memorization" else "heldout")
        self.needs = (self.samples,)  # type: ignore[misc]

    @property
    def sees_training(self) -> bool:
        """Whether it looks at training patients: at what is drawn for them, or at their images."""
        return super().sees_training or self.reward.inputs == "with_training"

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return the pictures; what the metric makes of them is its own."""
        sampled = evidence[self.samples]
        return Values(sampled.images, sampled.subjects)

    def measure(self, evidence: Evidence, scene: Scene, base: Evidence | None) -> list[Measurement]:
        """Feed the metric with pictures, held-out images at equal n, and training images where it asks."""
        sampled, real = evidence[self.samples], scene.real
        held = evidence.get(Samples("heldout"))
        rows = sorted(set(held.rows)) if held is not None else _rows(real, scene.options.num_images)
        texts = real.texts(real.split_of(self.samples.side))
        pixels = split_pixels(real.data, real.heldout_split, rows)
        value = self.reward(sampled.images, pixels, [texts[row] for row in sampled.rows], _training(real))
        interval = Interval(value, float("nan"), float("nan"), len(set(sampled.subjects)))
        note = "no interval: a metric that is not ours"
        return [Measurement(self.name, self.group, interval, None, self.higher_is_better, None, note)]


def _rows(real: RealImages, count: int) -> list[int]:
    return sorted(set(real.prompts(real.heldout_split, count).rows))


def _training(real: RealImages, block: int = 256) -> Iterator[Tensor]:
    count = len(real.contents)
    for start in range(0, count, block):
        yield split_pixels(real.data, "train", list(range(start, min(start + block, count))))
