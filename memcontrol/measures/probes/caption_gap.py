"""By how much a caption lowers the denoising error of its image; more for members."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memcontrol.diffusion.probes import Denoiser, denoising_losses
from memcontrol.measures.probes.base import Probe, ProbeBatch

__all__ = ["CaptionGapProbe"]


@dataclass(frozen=True)
class CaptionGapProbe(Probe):
    """The error without the caption minus that with it, at the same noise and timesteps; higher for members.

    References:
        Zhai et al., "Membership inference on text-to-image diffusion models via conditional likelihood discrepancy",
        NeurIPS 2024, https://arxiv.org/abs/2405.14800 (eq. 11, with the empty caption as the only reduced one).
    """

    def score(self, denoiser: Denoiser, images: ProbeBatch) -> Tensor:
        """Return the gaps, with shape `(B, draws)`."""
        empty = images.null.to(images.states).expand_as(images.states)
        without, given = (
            denoising_losses(denoiser, images.moments, states, images.seeds, images.draws)
            for states in (empty, images.states)
        )
        return without - given
