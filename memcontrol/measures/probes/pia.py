"""Proximal initialisation error; lower for members."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memcontrol.diffusion.probes import Denoiser, pia
from memcontrol.measures.probes.base import Probe, ProbeBatch

__all__ = ["PIAProbe"]


@dataclass(frozen=True)
class PIAProbe(Probe):
    """See `memcontrol.diffusion.probes.pia`."""

    def score(self, denoiser: Denoiser, images: ProbeBatch) -> Tensor:
        """Return the errors, with shape `(B, timesteps)`."""
        return pia(denoiser, images.moments, images.states)
