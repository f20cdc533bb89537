"""Norm of the noise that is predicted for an image itself; lower for members."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memcontrol.diffusion.probes import Denoiser, sima
from memcontrol.measures.probes.base import Probe, ProbeBatch

__all__ = ["SimAProbe"]


@dataclass(frozen=True)
class SimAProbe(Probe):
    """See `memcontrol.diffusion.probes.sima`."""

    def score(self, denoiser: Denoiser, images: ProbeBatch) -> Tensor:
        """Return the norms, with shape `(B, timesteps)`."""
        return sima(denoiser, images.moments, images.states)
