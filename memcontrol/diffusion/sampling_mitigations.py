"""What may be changed while a model samples, so that it gives back less of what it knows by heart.

A mitigation is one class. Its place in a config is `sampling.mitigations`; `guidance_start` and `prompt_optimization`
are short for two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from memcontrol.diffusion.probes import Denoiser
from memcontrol.errors import PromptError

__all__ = ["LateGuidance", "SamplingMitigation"]


class SamplingMitigation:
    """Changes text states before the first step, or guidance at each step; by default nothing.

    Make it a frozen dataclass: what is sampled is kept under a digest of its fields, and a strength that is no field
    would not tell one setting from another.
    """

    def states(self, denoiser: Denoiser, states: Tensor, null: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return text states to sample with.

        Args:
            denoiser: The model.
            states: Encoded captions, with shape `(B, L, D)`.
            null: The encoded empty caption, with shape `(1, L, D)`.
            x: Pure noise as the U-Net sees it at the first step, with shape `(B, C, h, w)`.
            t: The first timestep, with shape `(B,)`.
        """
        return states

    def guidance(self, number: int, num_steps: int, scale: float) -> float:
        """Return the strength of guidance at a step.

        Args:
            number: Number of the step, from 0.
            num_steps: Steps in all.
            scale: The strength so far.
        """
        return scale

    def __eq__(self, other: Any) -> bool:
        """Whether class and options are the same."""
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class LateGuidance(SamplingMitigation):
    """Starts guidance late, which keeps the path out of what is known by heart.

    Args:
        start: Share of the steps that is sampled without the caption, in [0, 1).

    Raises:
        PromptError: If it is out of range.

    References:
        Jain et al., "Classifier-free guidance inside the attraction basin may cause memorization", CVPR 2025,
        https://arxiv.org/abs/2411.16738 (section 4: guidance is zero before the transition point).
    """

    start: float

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0 <= self.start < 1:
            raise PromptError(f"Argument `sampling.guidance_start` must be in [0, 1), but got {self.start}.")

    def guidance(self, number: int, num_steps: int, scale: float) -> float:
        """Return no guidance before the start."""
        return 0.0 if number < self.start * num_steps else scale
