"""Denoising errors at little noise without a caption, where what a model knows by heart shows most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from memcontrol.diffusion.probes import Denoiser, denoising_losses
from memcontrol.measures.probes.base import Probe, ProbeBatch

__all__ = ["LowNoiseProbe"]

LOW: Final = 0.5
"""Share of the schedule, from little noise, in which errors are taken."""


@dataclass(frozen=True)
class LowNoiseProbe(Probe):
    """See `memcontrol.diffusion.probes.denoising_losses`."""

    def score(self, denoiser: Denoiser, images: ProbeBatch) -> Tensor:
        """Return the errors, with shape `(B, draws)`, from little noise to more."""
        empty = images.null.to(images.states).expand_as(images.states)
        return denoising_losses(denoiser, images.moments, empty, images.seeds, images.draws, LOW)
