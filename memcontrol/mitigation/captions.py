"""Several captions per image."""

from __future__ import annotations

from memcontrol.mitigation.base import Mitigation
from memcontrol.seeds import derive_seed

__all__ = ["MultipleCaptions"]


class MultipleCaptions(Mitigation):
    """Takes one of several captions at random, anew in each step.

    Args:
        separator: What stands between the captions in the text column.

    References:
        Somepalli et al., NeurIPS 2023, https://arxiv.org/abs/2305.20086 (section 6, "multiple captions").
    """

    needs_text_encoder = True
    is_per_sample = True

    def __init__(self, separator: str = "||") -> None:
        self.separator = separator

    def captions(self, texts: list[str], seeds: list[int]) -> list[str]:
        """Choose one caption of each text."""
        chosen = []
        for text, seed in zip(texts, seeds, strict=True):
            options = [part.strip() for part in text.split(self.separator)]
            chosen.append(options[derive_seed(seed, "caption choice") % len(options)])
        return chosen
