"""Random words, numbers and repetitions in captions, on the tokens that the text encoder sees.

References:
    Somepalli et al., "Understanding and mitigating copying in diffusion models", NeurIPS 2023,
    https://arxiv.org/abs/2305.20086 (section 6).
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from transformers import CLIPTokenizer

from memcontrol.errors import MemControlError
from memcontrol.mitigation.base import Mitigation
from memcontrol.seeds import derive_seed

__all__ = ["RandomNumberAddition", "RandomWordAddition", "WordRepetition"]


class _Insertion(Mitigation):
    """Inserts tokens at random places.

    Args:
        count: How many are inserted into each caption.

    Raises:
        MemControlError: If `count` is below 1.
    """

    needs_text_encoder = True
    is_per_sample = True

    def __init__(self, count: int = 4) -> None:
        if count < 1:
            raise MemControlError(f"Argument `count` of {type(self).__name__} must be at least 1, but got {count}.")
        self.count = count

    @abstractmethod
    def drawn(self, content: list[int], rng: np.random.Generator, tokenizer: CLIPTokenizer) -> list[int]:
        """Return the tokens of one insertion."""

    def tokens(self, content: list[int], seed: int, tokenizer: CLIPTokenizer) -> list[int]:
        """Insert tokens; what then is too long is cut at the end."""
        rng = np.random.default_rng(derive_seed(seed, type(self).__name__))
        changed = list(content)
        for _ in range(self.count):
            inserted = self.drawn(content, rng, tokenizer)
            place = int(rng.integers(len(changed) + 1))
            changed[place:place] = inserted
        return changed


class RandomWordAddition(_Insertion):
    """Inserts random words of the vocabulary (RWA)."""

    def drawn(self, content: list[int], rng: np.random.Generator, tokenizer: CLIPTokenizer) -> list[int]:
        """Return a random token that is no mark."""
        special = set(tokenizer.all_special_ids)
        while (token := int(rng.integers(len(tokenizer)))) in special:
            pass
        return [token]


class RandomNumberAddition(_Insertion):
    """Inserts random numbers in [0, 1,000,000)."""

    def drawn(self, content: list[int], rng: np.random.Generator, tokenizer: CLIPTokenizer) -> list[int]:
        """Return the tokens of a random number."""
        ids: list[int] = tokenizer(str(int(rng.integers(1_000_000))), add_special_tokens=False).input_ids
        return ids


class WordRepetition(_Insertion):
    """Repeats random words of the caption."""

    def drawn(self, content: list[int], rng: np.random.Generator, tokenizer: CLIPTokenizer) -> list[int]:
        """Return a token of the caption."""
        return [int(rng.choice(content))] if content else []
