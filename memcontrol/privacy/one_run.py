"""A lower bound on epsilon from one training whose members were chosen by coins.

References:
    Steinke, Nasr and Jagielski, "Privacy auditing with one (1) training run", NeurIPS 2023,
    https://arxiv.org/abs/2305.08846 (theorem 5.2).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom

__all__ = ["OneRun", "best_possible", "epsilon_lower_bound", "guess", "p_value"]

LARGEST = 50.0
"""Epsilon beyond which nobody asks."""


@dataclass(frozen=True)
class OneRun:
    """What guessing who was in tells of epsilon.

    Args:
        epsilon: With this confidence, epsilon is at least as large.
        confidence: The confidence.
        candidates: Number of coins.
        guesses: How many of them were guessed, chosen beforehand.
        correct: How many guesses were right.
        most: What would be shown if all guesses were right: what these numbers can show at all.
    """

    epsilon: float
    confidence: float
    candidates: int
    guesses: int
    correct: int
    most: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return it as a report says it."""
        return (
            f"{self.correct} of {self.guesses} guesses right (of {self.candidates:,}), so epsilon is at least "
            f"{self.epsilon:.2f} ({self.confidence:.0%} confidence; these numbers can show {self.most:.2f} at most)"
        )


def guess(scores: np.ndarray, included: np.ndarray, guesses: int, delta: float, confidence: float = 0.95) -> OneRun:
    """Guess the half of the surest, highest scores to be in and as many lowest to be out.

    Args:
        scores: Higher for who was in, with shape `(n,)`.
        included: Who was in, by coins, with shape `(n,)`.
        guesses: How many are guessed, fixed before the scores are seen; at most n.
        delta: Of the guarantee that is tested.
        confidence: Of the bound.
    """
    half = guesses // 2
    order = np.argsort(scores, kind="stable")
    correct = int(included[order[len(order) - half :]].sum() + (~included[order[:half]]).sum())
    bound = epsilon_lower_bound(len(scores), 2 * half, correct, delta, confidence)
    return OneRun(
        bound, confidence, len(scores), 2 * half, correct, best_possible(len(scores), 2 * half, delta, confidence)
    )


def p_value(candidates: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Return the largest probability of so many right guesses under (epsilon, delta)-differential privacy.

    Args:
        candidates: Number of independent fair coins, m.
        guesses: Number of guesses, r.
        correct: Number of right ones, v.
        epsilon: The bound that is tested.
        delta: Its probability of failing.
    """
    chance = 1 / (1 + math.exp(-epsilon))
    beta = float(binom.sf(correct - 1, guesses, chance))
    if delta == 0 or correct == 0:
        return min(beta, 1.0)
    sums = np.cumsum(binom.pmf(correct - np.arange(1, correct + 1), guesses, chance))
    alpha = float((sums / np.arange(1, correct + 1)).max())
    return min(beta + 2 * candidates * delta * alpha, 1.0)


def epsilon_lower_bound(candidates: int, guesses: int, correct: int, delta: float, confidence: float = 0.95) -> float:
    """Return the largest epsilon that so many right guesses rule out; 0 if they rule out none.

    Args:
        candidates: Number of independent fair coins.
        guesses: Number of guesses.
        correct: Number of right ones.
        delta: Probability with which the tested bound may fail.
        confidence: Of the result.
    """

    def excess(epsilon: float) -> float:
        return p_value(candidates, guesses, correct, epsilon, delta) - (1 - confidence)

    if excess(0.0) > 0:
        return 0.0
    return LARGEST if excess(LARGEST) <= 0 else float(brentq(excess, 0.0, LARGEST, xtol=1e-6))


def best_possible(candidates: int, guesses: int, delta: float, confidence: float = 0.95) -> float:
    """Return what would be shown if every guess were right."""
    return epsilon_lower_bound(candidates, guesses, guesses, delta, confidence)
