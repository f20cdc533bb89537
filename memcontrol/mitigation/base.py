"""What a mitigation may change of a training step; each does one thing and leaves the rest alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from memcontrol.described import Described
from memcontrol.diffusion.sampling import SamplingOptions

__all__ = ["HeldoutLosses", "Learner", "Mitigation"]

HeldoutLosses = Callable[[int, int], Tensor]
"""Takes a number of validation images and of equal parts of the schedule, and returns the mean error in each part."""


class Learner(Protocol):
    """A model in training, as mitigations see it."""

    def drawn_by_base(self, count: int, sampling: SamplingOptions) -> tuple[Tensor, Tensor]:
        """Return states of training captions, `(n, L, D)`, and latents that the base draws for them, `(n, C, h, w)`."""

    def errors_on(self, latents: Tensor, states: Tensor, seeds: Tensor) -> Tensor:
        """Return the errors of latents at noise and timesteps that seeds decide, with shape `(n,)`."""


class Mitigation(Described):
    """Changes captions, tokens, text states or the samples that count; by default nothing.

    Mitigations are applied in the order of the config. All randomness follows from the seed of each draw, so it differs
    from epoch to epoch and is the same in a repeated run.
    """

    needs_text_encoder = False
    """Whether captions are encoded in each step instead of being read from the cache: else `captions` and `tokens` are
    not called."""
    needs_noise_norm = False
    """Whether the U-Net also predicts without the caption in each step: else `kept` is not called."""
    is_per_sample = False
    """Whether what it does to a sample depends on that sample and on nothing else of training: private training
    takes no others."""
    changes_last_weights = False
    """Whether `finish` changes what was trained: then `trainer.max_steps` must say which step is the last."""

    def captions(self, texts: list[str], seeds: list[int]) -> list[str]:
        """Change the captions of a batch."""
        return texts

    def tokens(self, content: list[int], seed: int, tokenizer: CLIPTokenizer) -> list[int]:
        """Change the tokens of one caption, without start and end marks."""
        return content

    def states(self, states: Tensor, seeds: Tensor) -> Tensor:
        """Change text states with shape `(B, L, D)`."""
        return states

    def prepare(self, heldout: HeldoutLosses, step: int) -> None:
        """Get ready for a step.

        Args:
            heldout: Tells how well the model denoises images that it is not trained on.
            step: Optimizer steps so far.
        """

    def counts(self, errors: Tensor, shares: Tensor) -> Tensor:
        """Return which samples count, by their errors and their places in the schedule, in [0, 1), all `(B,)`."""
        return torch.ones_like(errors, dtype=torch.bool)

    def check(self, unet: nn.Module) -> None:
        """See, before anything is trained, that it can work on an adapted U-Net; its weights may be on `meta`."""

    def begin(self, learner: Learner) -> None:
        """Get ready for training."""

    def added(self, learner: Learner, seeds: Tensor) -> Tensor | None:
        """Return what is added to the loss of a step, or None.

        Args:
            learner: The model.
            seeds: One seed per sample of the batch, with shape `(B,)`.
        """
        return None

    def finish(self, unet: nn.Module) -> None:
        """Change the weights of the adapter after the last step, before they are validated and kept."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, as plain values and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""

    def kept(self, norms: Tensor) -> Tensor:
        """Return which samples count, with shape `(B,)`, by their text-conditional noise norms."""
        return norms.isfinite()
