"""Error of one deterministic step forth and back; lower for members."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memcontrol.diffusion.probes import Denoiser, secmi
from memcontrol.measures.probes.base import Probe, ProbeBatch

__all__ = ["SecMIProbe"]


@dataclass(frozen=True)
class SecMIProbe(Probe):
    """See `memcontrol.diffusion.probes.secmi`."""

    def score(self, denoiser: Denoiser, images: ProbeBatch) -> Tensor:
        """Return the errors, with shape `(B, timesteps)`."""
        return secmi(denoiser, images.moments, images.states)
