r"""Move a prompt's embedding away from what the model knows by heart, before anything is drawn.

At the first step, from pure noise, the embedding e is changed until the model reacts to it no more than a target says:

.. math:: \min_e \| \epsilon(x_T, T, e) - \epsilon(x_T, T, \varnothing) \|_2^2

References:
    Wen et al., "Detecting, explaining, and mitigating memorization in diffusion models", ICLR 2024,
    https://arxiv.org/abs/2407.21720 (section 5, eq. 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memcontrol.diffusion.probes import Denoiser
from memcontrol.diffusion.sampling_mitigations import SamplingMitigation
from memcontrol.errors import PromptError

__all__ = ["PromptOptimization", "optimise"]


@dataclass(frozen=True)
class PromptOptimization(SamplingMitigation):
    """Changes the embeddings of prompts that the model knows by heart.

    Args:
        target: Norm at which an embedding is left alone; lower changes prompts more.
        steps: Most optimisation steps.
        lr: Learning rate of Adam.

    Raises:
        PromptError: If a number is not positive.
    """

    target: float
    steps: int = 10
    lr: float = 0.05

    def __post_init__(self) -> None:
        """Check the ranges."""
        if min(self.target, self.steps, self.lr) <= 0:
            raise PromptError(
                "Arguments `target`, `steps` and `lr` of the prompt optimisation must be positive, but got "
                f"{self.target}, {self.steps} and {self.lr}."
            )

    def states(self, denoiser: Denoiser, states: Tensor, null: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return optimised text states."""
        return optimise(denoiser, states, null, x, t, self)


def optimise(
    denoiser: Denoiser, states: Tensor, null: Tensor, x: Tensor, t: Tensor, options: PromptOptimization
) -> Tensor:
    """Return changed text states; each prompt is optimised by itself, whatever the batch.

    Args:
        denoiser: The model.
        states: Encoded captions, with shape `(B, L, D)`.
        null: The encoded empty caption, with shape `(1, L, D)`.
        x: Pure noise, with shape `(B, C, h, w)`.
        t: The first timestep, with shape `(B,)`.
        options: Target, steps and learning rate.
    """
    with torch.no_grad():
        without = denoiser.noise(x, t, null.to(states).expand_as(states))
    with torch.enable_grad():
        changed = states.detach().clone().requires_grad_(True)
        optimizer = torch.optim.Adam([changed], lr=options.lr)
        for _ in range(options.steps):
            norms = (denoiser.noise(x, t, changed) - without).float().flatten(1).norm(dim=1)
            active = norms.detach() > options.target
            if not active.any():
                break
            gradient = torch.autograd.grad((norms.square() * active).sum(), changed)[0]
            kept = changed.detach().clone()
            changed.grad = gradient
            optimizer.step()
            with torch.no_grad():
                changed[~active] = kept[~active]  # Adam's momentum would move what is done
    return changed.detach()
