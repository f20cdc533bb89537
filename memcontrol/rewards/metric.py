"""Any metric of torchmetrics, or of a user, as a reward."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from memcontrol.errors import RewardError

__all__ = ["MetricReward"]


@dataclass(frozen=True)
class MetricReward:
    """A metric with what it is fed.

    Args:
        name: Name of the measure, e.g. `clip_score`.
        metric: The metric; it takes images with shape `(B, 3, H, W)`, values in [0, 1].
        inputs: `images` calls `update(generated)`, `real_and_generated` calls `update(images, real=...)` as FID and
            KID do, `images_and_texts` calls `update(generated, captions)` as CLIPScore does, and `with_training` calls
            `update(images, training=True)` too, as the metrics of `memcontrol.rewards.metrics` do.
        group: `quality` is measured on what is drawn for held-out prompts, `memorization` for training prompts.
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
