"""Norms of the loss's gradient by block of the U-Net; lower for members."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memcontrol.diffusion.gradients import gradient_norms
from memcontrol.diffusion.probes import Denoiser
from memcontrol.measures.probes.base import Probe, ProbeBatch

__all__ = ["GradientProbe"]


@dataclass(frozen=True)
class GradientProbe(Probe):
    """See `memcontrol.diffusion.gradients.gradient_norms`: over the lower half of the timesteps, without a caption."""

    def score(self, denoiser: Denoiser, images: ProbeBatch) -> Tensor:
        """Return the norms, with shape `(B, blocks)`."""
        empty = images.null.to(images.states).expand_as(images.states)
        return gradient_norms(denoiser, images.moments, empty, images.seeds, min(images.draws, 4), 0.5)
