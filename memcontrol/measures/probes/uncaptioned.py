"""Denoising errors without a caption, over the whole schedule or where noise is low; lower for members."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memcontrol.diffusion.probes import Denoiser, denoising_losses
from memcontrol.measures.probes.base import Probe, ProbeBatch

__all__ = ["UncaptionedLossProbe"]


@dataclass(frozen=True)
class UncaptionedLossProbe(Probe):
    """See `memcontrol.diffusion.probes.denoising_losses`.

    Args:
        share: Share of the schedule, from little noise, in which errors are taken, in (0, 1]; with 1 at the same noise
            and timesteps as those of `LossProbe`.
    """

    share: float = 1.0

    def score(self, denoiser: Denoiser, images: ProbeBatch) -> Tensor:
        """Return the errors, with shape `(B, draws)`, from little noise to more."""
        empty = images.null.to(images.states).expand_as(images.states)
        return denoising_losses(denoiser, images.moments, empty, images.seeds, images.draws, self.share)
