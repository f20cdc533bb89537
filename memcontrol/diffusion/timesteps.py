"""Which timesteps are trained: a band of the schedule, some parts of it more often than others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memcontrol.errors import MemControlError
from memcontrol.ranges import check_ranges
from memcontrol.seeds import uniform_from_seeds

__all__ = ["TimestepOptions"]


@dataclass(frozen=True)
class TimestepOptions:
    """How timesteps are drawn in training. Low ones have little noise.

    Where a model memorizes is disputed (2602.17846, 2601.21348), so that a search may vary it.

    Args:
        low: Share of the schedule at which the band begins, in [0, 1).
        high: Share at which it ends, in (0, 1].
        weights: How often timesteps of equal parts of the band are drawn, relative to each other and from little noise
            on; by default all alike.

    Raises:
        MemControlError: If the band is empty or the weights cannot be drawn by.
    """

    low: float = 0.0
    high: float = 1.0
    weights: list[float] | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        ranges = {"low": "[0, 1)", "high": "(0, 1]", "weights": "[0, inf)"}
        check_ranges(MemControlError, "timesteps", self, ranges)
        if self.low >= self.high:
            raise MemControlError(
                f"Argument `timesteps.low` must be below `timesteps.high`, but got {self.low} and {self.high}."
            )
        if self.weights is not None and not sum(self.weights):
            raise MemControlError(
                f"Argument `timesteps.weights` must have a number above 0, but got {self.weights}. Leave it out to "
                "draw all timesteps of the band alike."
            )

    def sample(self, seeds: Tensor, num_timesteps: int) -> Tensor:
        """Draw one timestep per sample.

        Args:
            seeds: One seed per sample, with shape `(B,)`.
            num_timesteps: Length of the schedule.

        Returns:
            Timesteps in [0, num_timesteps), with shape `(B,)`.
        """
        share = uniform_from_seeds(seeds, "timestep 0")
        if self.weights is not None:
            ends = torch.tensor(self.weights, dtype=torch.float64).cumsum(0)
            ends = torch.cat([ends.new_zeros(1), ends / ends[-1]])
            part = torch.searchsorted(ends, share.double(), right=True).clamp(1, len(self.weights)) - 1
            share = (part + (share - ends[part]) / (ends[part + 1] - ends[part])) / len(self.weights)
        share = self.low + (self.high - self.low) * share
        return (share * num_timesteps).long().clamp_max(num_timesteps - 1)
