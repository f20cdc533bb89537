"""Text-conditional noise norm; higher when memorized."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memcontrol.diffusion.probes import Denoiser, noise_norm
from memcontrol.measures.probes.base import Probe, ProbeBatch

__all__ = ["NoiseNormProbe"]


@dataclass(frozen=True)
class NoiseNormProbe(Probe):
    """See `memcontrol.diffusion.probes.noise_norm`."""

    def score(self, denoiser: Denoiser, images: ProbeBatch) -> Tensor:
        """Return the scores, with shape `(B,)`."""
        return noise_norm(denoiser, images.moments, images.states, images.null, images.seeds, min(images.draws, 4))
