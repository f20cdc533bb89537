"""Denoising errors at fixed noise and timesteps; lower for members."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memcontrol.diffusion.probes import Denoiser, denoising_losses
from memcontrol.measures.probes.base import Probe, ProbeBatch

__all__ = ["LossProbe"]


@dataclass(frozen=True)
class LossProbe(Probe):
    """See `memcontrol.diffusion.probes.denoising_losses`."""

    def score(self, denoiser: Denoiser, images: ProbeBatch) -> Tensor:
        """Return the errors, with shape `(B, draws)`, from little noise to much."""
        return denoising_losses(denoiser, images.moments, images.states, images.seeds, images.draws)
