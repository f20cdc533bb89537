"""Stop learning from a sample once the model knows it better than images that it was never shown."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from memcontrol.errors import MemControlError
from memcontrol.mitigation.base import HeldoutLosses, Mitigation
from memcontrol.ranges import check_ranges

__all__ = ["LossFloor"]


class LossFloor(Mitigation):
    """Leaves samples out of the loss whose error lies below a share of the held-out error at their timestep.

    The reference are images of the validation split, which are never trained on and are no test patients; its error is
    taken in equal parts of the schedule, with little noise as with much, and anew from time to time, since it falls as
    the model learns.

    Args:
        share: Share of the held-out error below which a sample counts no more, in (0, 1]; 1 lets nothing be known
            better than held-out images are.
        images: Validation images that the reference is taken of.
        parts: Equal parts of the schedule.
        every: Optimizer steps from one reference to the next; each costs `images` x `parts` forward passes.

    Raises:
        MemControlError: If a number is out of range.

    References:
        Chen et al., "RelaxLoss: defending membership inference attacks without losing utility", ICLR 2022,
        https://arxiv.org/abs/2207.05801 (section 3), with a floor for each timestep instead of one for all.
    """

    is_per_sample = True

    def __init__(self, share: float = 0.9, images: int = 32, parts: int = 10, every: int = 50) -> None:
        self.share = share
        self.images = images
        self.parts = parts
        self.every = every
        ranges = {"share": "(0, 1]", "images": "[1, inf)", "parts": "[1, inf)", "every": "[1, inf)"}
        check_ranges(MemControlError, "LossFloor", self, ranges)
        self._reference: Tensor | None = None
        self._taken_at = -1

    def prepare(self, heldout: HeldoutLosses, step: int) -> None:
        """Take the reference in the first step, and again after `every` steps."""
        if self._reference is None or not 0 <= step - self._taken_at < self.every:
            self._reference, self._taken_at = heldout(self.images, self.parts).cpu(), step

    def counts(self, errors: Tensor, shares: Tensor) -> Tensor:
        """Return which samples still count, with shape `(B,)`."""
        assert self._reference is not None, "prepare has not been called"
        return errors >= self.share * self._at(shares).to(errors)

    def _at(self, shares: Tensor) -> Tensor:
        """Return the reference at places of the schedule, on straight lines between the middles of its parts."""
        assert self._reference is not None
        place = (shares.cpu().double() * self.parts - 0.5).clamp(0, self.parts - 1)
        low = place.floor().long().clamp_max(max(self.parts - 2, 0))
        high = (low + 1).clamp_max(self.parts - 1)
        return torch.lerp(self._reference[low].double(), self._reference[high].double(), place - low)

    def state_dict(self) -> dict[str, Any]:
        """Return the reference, which a resumed run goes on with."""
        return {"reference": self._reference, "taken_at": self._taken_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the reference of a checkpoint, unless it was taken in other parts: then it is taken anew."""
        reference, taken_at = state.get("reference"), state.get("taken_at")
        if isinstance(reference, Tensor) and reference.shape == (self.parts,) and isinstance(taken_at, int):
            self._reference, self._taken_at = reference, taken_at
