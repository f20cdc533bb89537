"""Leave samples out of the loss that the model reacts to as if it knew them."""

from __future__ import annotations

import torch
from torch import Tensor

from memcontrol.errors import MemControlError
from memcontrol.mitigation.base import Mitigation

__all__ = ["NoiseNormThreshold"]


class NoiseNormThreshold(Mitigation):
    """Drops samples whose text-conditional noise norm lies over a threshold; costs a second forward per step.

    Args:
        threshold: Norms above it are dropped; it depends on the size of the latents.
        quantile: Instead: the share of each batch that is kept, in (0, 1].

    Raises:
        MemControlError: Unless exactly one of them is given, within its range.

    References:
        Wen et al., "Detecting, explaining, and mitigating memorization in diffusion models", ICLR 2024,
        https://arxiv.org/abs/2407.21720 (section 5, "training-time mitigation").
    """

    needs_noise_norm = True

    @property
    def is_per_sample(self) -> bool:  # type: ignore[override]
        """A fixed threshold looks at one sample, a quantile at the batch."""
        return self.threshold is not None

    def __init__(self, threshold: float | None = None, quantile: float | None = None) -> None:
        if (threshold is None) == (quantile is None) or (quantile is not None and not 0 < quantile <= 1):
            raise MemControlError(
                "NoiseNormThreshold needs either `threshold` or `quantile` in (0, 1], but got "
                f"threshold={threshold} and quantile={quantile}."
            )
        self.threshold = threshold
        self.quantile = quantile

    def kept(self, norms: Tensor) -> Tensor:
        """Return which samples count."""
        if self.threshold is not None:
            return norms <= self.threshold
        assert self.quantile is not None
        return norms <= torch.quantile(norms.float(), self.quantile)
