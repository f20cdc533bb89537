"""Made-up patients whose gradients are known: they measure how much of the bound a training uses.

Each is one direction of what is trained, with a gradient that is longer than the clip lets pass. Half of them, by
coins, are in the training, where each step takes them with the probability of a patient; the others never are. Who
sees the noised gradients of all steps then guesses which.

References:
    Steinke et al., 2305.08846 (section 6, white-box); Nasr et al., "Tight auditing of differentially private machine
    learning", USENIX Security 2023, https://arxiv.org/abs/2302.07956 (gradients as canaries).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from memcontrol.errors import GuaranteeError
from memcontrol.privacy.clipping import ClippedSums, clipped
from memcontrol.privacy.one_run import OneRun, guess
from memcontrol.privacy.secret import Secret

__all__ = ["Canaries"]

GUESSED: Final = 0.2
"""Share of canaries that is guessed."""
AT_ONCE: Final = 16
"""Canaries whose gradients are held at once."""
LOUD: Final = 10.0
"""Norm of a canary's gradient before it is clipped, in units of the clip."""


class Canaries:
    """Directions of single parameters, orthogonal to each other.

    Args:
        number: How many.
        trained: What is trained.
        secret: Their coins.

    Raises:
        GuaranteeError: If less is trained than there are canaries.
    """

    def __init__(self, number: int, trained: Mapping[str, nn.Parameter], secret: Secret) -> None:
        sizes = {name: parameter.numel() for name, parameter in trained.items()}
        total = sum(sizes.values())
        if number > total:
            raise GuaranteeError(
                f"Argument `model.privacy.canaries` is {number}, but only {total} parameters are trained, one for "
                "each. Lower it."
            )
        chosen = np.sort(secret.generator("directions").choice(total, number, replace=False))
        self.included = secret.generator("coins").random(number) < 0.5
        self.scores = np.zeros(number)
        self.places: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        """Of each parameter that has some: their numbers, and their places in it."""
        self._secret = secret
        first = 0
        for name, size in sizes.items():
            numbers = np.flatnonzero((chosen >= first) & (chosen < first + size))
            if len(numbers):
                self.places[name] = (numbers, chosen[numbers] - first)
            first += size

    def join(self, sums: ClippedSums, step: int, rate: float, clip: float) -> None:
        """Add the gradients of those that a step takes, clipped as those of patients are."""
        taken = self.included & (self._secret.generator("canaries", step).random(len(self.included)) < rate)
        for name, (numbers, places) in self.places.items():
            for adding in torch.from_numpy(places[taken[numbers]]).to(sums[name].device).split(AT_ONCE):
                gradients = torch.zeros(len(adding), sums[name].numel(), device=sums[name].device)
                gradients[torch.arange(len(adding)), adding] = LOUD * clip
                sums[name] += clipped({name: gradients}, clip)[name].view_as(sums[name])

    def look(self, name: str, noised: Tensor) -> None:
        """Take what a step gives away of them."""
        if name in self.places:
            numbers, places = self.places[name]
            self.scores[numbers] += noised.flatten()[torch.from_numpy(places).to(noised.device)].double().cpu().numpy()

    def result(self, delta: float) -> OneRun:
        """Return the bound from below."""
        return guess(self.scores, self.included, int(GUESSED * len(self.scores)), delta)
