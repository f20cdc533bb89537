"""Gaussian noise on text states."""

from __future__ import annotations

from torch import Tensor

from memcontrol.errors import MemControlError
from memcontrol.mitigation.base import Mitigation
from memcontrol.seeds import normal_like_seeds

__all__ = ["TextNoise"]


class TextNoise(Mitigation):
    """Adds Gaussian noise to the encoded captions, anew in each step; works on cached states.

    Args:
        scale: Standard deviation of the noise.

    Raises:
        MemControlError: If it is negative.

    References:
        Somepalli et al., NeurIPS 2023, https://arxiv.org/abs/2305.20086 (section 6, "Gaussian noise").
    """

    is_per_sample = True

    def __init__(self, scale: float = 0.1) -> None:
        if scale < 0:
            raise MemControlError(f"Argument `scale` of TextNoise must be at least 0, but got {scale}.")
        self.scale = scale

    def states(self, states: Tensor, seeds: Tensor) -> Tensor:
        """Add noise."""
        return states + self.scale * normal_like_seeds(seeds, tuple(states.shape[1:]), "text noise").to(states)
