"""Stateful metrics over the pure functions: they gather features batch by batch, also across processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from memcontrol.errors import RewardError
from memcontrol.rewards.encoders import Encoder, LiteEncoder
from memcontrol.rewards.functional.frechet import frechet_distance, mifid
from memcontrol.rewards.functional.kernel import kernel_distance
from memcontrol.rewards.functional.memorization import authentic, c_t, minimal_distances

__all__ = [
    "AuthenticityMetric",
    "CTMetric",
    "FeatureMetric",
    "FrechetDistanceMetric",
    "KernelDistanceMetric",
    "MIFIDMetric",
    "MinimalDistanceMetric",
]


class FeatureMetric(Metric):
    """Gathers features of generated, held-out and training images.

    Args:
        encoder: Turns images into features; by default EfficientNet-Lite0.
        kwargs: See `torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    generated_features: list[Tensor]
    heldout_features: list[Tensor]
    training_features: list[Tensor]

    def __init__(self, encoder: Encoder | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder if encoder is not None else LiteEncoder()
        for name in ("generated", "heldout", "training"):
            self.add_state(f"{name}_features", default=[], dist_reduce_fx="cat")

    def update(self, images: Tensor, real: bool = False, training: bool = False) -> None:
        """Add images with shape `(B, 3, H, W)`, values in [0, 1].

        Args:
            images: The images.
            real: Whether they are held-out real images.
            training: Whether they are training images.
        """
        features = self.encoder.encode(images).to(self.device)
        name = "training" if training else "heldout" if real else "generated"
        getattr(self, f"{name}_features").append(features)

    def _features(self, name: str) -> Tensor:
        parts = getattr(self, f"{name}_features")
        if not len(parts):
            raise RewardError(
                f"{type(self).__name__} has seen no {name} images. Call `update` with some first; as a reward in a "
                "config it gets them with `inputs: with_training`."
            )
        found: Tensor = dim_zero_cat(parts)
        return found.cpu()


class FrechetDistanceMetric(FeatureMetric):
    """See `frechet_distance`."""

    higher_is_better = False

    def compute(self) -> Tensor:
        """Return the distance."""
        return torch.tensor(frechet_distance(self._features("generated"), self._features("heldout")))


class KernelDistanceMetric(FeatureMetric):
    """See `kernel_distance`."""

    higher_is_better = False

    def compute(self) -> Tensor:
        """Return the distance."""
        return torch.tensor(kernel_distance(self._features("generated"), self._features("heldout")))


class MinimalDistanceMetric(FeatureMetric):
    """AMD: see `minimal_distances`."""

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the mean distance."""
        return minimal_distances(self._features("generated"), self._features("training")).mean()


class AuthenticityMetric(FeatureMetric):
    """See `authentic`."""

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the share of authentic images."""
        return authentic(self._features("generated"), self._features("training")).mean()


class CTMetric(FeatureMetric):
    """See `c_t`."""

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the z score."""
        return torch.tensor(c_t(self._features("generated"), self._features("heldout"), self._features("training")))


class MIFIDMetric(FeatureMetric):
    """See `mifid`."""

    higher_is_better = False

    def compute(self) -> Tensor:
        """Return the distance."""
        return torch.tensor(mifid(self._features("generated"), self._features("heldout"), self._features("training")))
