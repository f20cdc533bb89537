"""Keep what the base can draw, by training on its own pictures beside the private ones."""

from __future__ import annotations

import torch
from torch import Tensor

from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.errors import MemControlError
from memcontrol.mitigation.base import Learner, Mitigation
from memcontrol.ranges import check_ranges
from memcontrol.seeds import derive_seed

__all__ = ["PriorPreservation"]


class PriorPreservation(Mitigation):
    """Adds the loss on pictures that the untouched base has drawn for captions of training images.

    They are drawn before the first step, and show no patient of the training set: what is learnt of them is how the
    base draws, and that leaves less room for what is known by heart.

    Args:
        pictures: How many are drawn.
        weight: Weight of their loss beside that of the training images, at least 0.
        batch: How many of them are seen in each step; a step costs as much more.
        sampling: How they are drawn.

    Raises:
        MemControlError: If a number is out of range.

    References:
        Ruiz et al., "DreamBooth", CVPR 2023, https://arxiv.org/abs/2208.12242 (section 3.3).
    """

    def __init__(
        self,
        pictures: int = 64,
        weight: float = 1.0,
        batch: int = 4,
        sampling: SamplingOptions = SamplingOptions(20, 2.0, "DPMSolverMultistepScheduler"),  # noqa: B008 - frozen
    ) -> None:
        self.pictures = pictures
        self.weight = weight
        self.batch = batch
        self.sampling = sampling
        ranges = {"pictures": "[1, inf)", "weight": "[0, inf)", "batch": "[1, 65536]"}
        check_ranges(MemControlError, "PriorPreservation", self, ranges)
        self._drawn: tuple[Tensor, Tensor] | None = None

    def begin(self, learner: Learner) -> None:
        """Draw the pictures; a resumed run draws the same ones."""
        self._drawn = learner.drawn_by_base(self.pictures, self.sampling)

    def added(self, learner: Learner, seeds: Tensor) -> Tensor:
        """Return the weighted mean error on some of the pictures."""
        assert self._drawn is not None, "begin has not been called"
        states, latents = self._drawn
        ours = [derive_seed(int(seeds[0]), "prior", i) for i in range(self.batch)]
        rows = [derive_seed(seed, "row") % len(latents) for seed in ours]
        errors = learner.errors_on(latents[rows], states[rows], torch.tensor(ours))
        return self.weight * errors.mean()
