"""What a mitigation may change of a training step; each does one thing and leaves the rest alone."""

from __future__ import annotations

from torch import Tensor
from transformers import CLIPTokenizer

__all__ = ["Mitigation"]


class Mitigation:
    """Changes captions, tokens, text states or the samples that count; by default nothing.

    Mitigations are applied in the order of the config. All randomness follows from the seed of each draw, so it differs
    from epoch to epoch and is the same in a repeated run.
    """

    needs_text_encoder = False
    """Whether captions are encoded in each step instead of being read from the cache: else `captions` and `tokens` are
    not called."""
    needs_noise_norm = False
    """Whether the U-Net also predicts without the caption in each step: else `kept` is not called."""

    def captions(self, texts: list[str], seeds: list[int]) -> list[str]:
        """Change the captions of a batch."""
        return texts

    def tokens(self, content: list[int], seed: int, tokenizer: CLIPTokenizer) -> list[int]:
        """Change the tokens of one caption, without start and end marks."""
        return content

    def states(self, states: Tensor, seeds: Tensor) -> Tensor:
        """Change text states with shape `(B, L, D)`."""
        return states

    def kept(self, norms: Tensor) -> Tensor:
        """Return which samples count, with shape `(B,)`, by their text-conditional noise norms."""
        return norms.isfinite()
