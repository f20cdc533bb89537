"""Splits by subject, and seeded shares of rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from memcontrol.errors import DataError
from memcontrol.seeds import derive_seed

__all__ = ["SPLITS", "MemorizationSubset", "assign_splits", "coin_half", "in_pool", "in_share", "split_named", "take"]

SPLITS = ("train", "validate", "test")
SPLIT_NAMES = {
    "train": ("train", "training", "trn", "tr"),
    "validate": ("validate", "validation", "val", "valid", "dev", "development"),
    "test": ("test", "testing", "tst", "heldout", "held-out", "holdout"),
}
"""What a split may be called, in any case."""


def split_named(name: str) -> str | None:
    """Return the split that a name stands for, or None.

    Example:
        >>> split_named(" Val ")
        'validate'
    """
    folded = name.strip().casefold()
    return next((split for split, names in SPLIT_NAMES.items() if folded in names), None)


@dataclass(frozen=True)
class MemorizationSubset:
    """Training images that are deliberately repeated, as in the paper's protocol.

    Args:
        num_images: How many training images are repeated.
        repeats: How often each of them stands in one epoch (1: not repeated).

    Raises:
        DataError: If a number is out of range.

    References:
        Dutt et al., "MemControl", WACV 2025, https://arxiv.org/abs/2405.19458 (section 4).
    """

    num_images: int = 0
    repeats: int = 50

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.num_images < 0 or self.repeats < 1:
            raise DataError(
                "Arguments `memorization.num_images` >= 0 and `memorization.repeats` >= 1 are needed, but "
                f"got {self.num_images} and {self.repeats}."
            )


def in_pool(subjects: pd.Series, among: pd.Series, pools: int, pool: int, seed: int) -> pd.Series:
    """Return which rows are of one of several disjoint pools of subjects, of about the same size.

    Args:
        subjects: Subject of each row.
        among: Whether the row's subject is in one of the pools.
        pools: Number of pools.
        pool: Number of the pool, from 0.
        seed: Seed of the draw.
    """
    names = sorted(subjects[among].astype(str).unique(), key=lambda name: derive_seed(seed, "test pool", name))
    return among & subjects.astype(str).isin(names[pool::pools])


def coin_half(training: Iterable[str], others: Iterable[str], number: int) -> frozenset[str]:
    """Return a random half of some subjects and as many others: of each, a coin says whether it is in.

    Halves 2j and 2j + 1 are each other's complement, and about as large as `training`. What becomes of a subject
    depends on no other one, but for who is left out where there are more others.

    Args:
        training: Subjects.
        others: Other subjects.
        number: Number of the half.

    Example:
        >>> sorted(coin_half("ab", "cdef", 0) | coin_half("ab", "cdef", 1))[:2]
        ['a', 'b']
    """
    names = set(training)
    further = sorted(set(others) - names, key=lambda name: (derive_seed(0, "coin pool", name), name))[: len(names)]
    return frozenset(n for n in names.union(further) if (derive_seed(number // 2, "coin", n) + number) % 2 == 0)


def assign_splits(subjects: pd.Series, fractions: list[float], seed: int) -> pd.Series:
    """Put each subject into one split.

    Args:
        subjects: Subject of each row.
        fractions: Shares of subjects for train, validate and test, adding up to 1.
        seed: Seed of the draw.

    Returns:
        `train`, `validate` or `test` for each row; all rows of a subject are in the same one.

    Raises:
        DataError: If the shares are not three numbers in [0, 1] that add up to 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise DataError(
            "Argument `split_fractions` must be three shares (train, validate, test) that add up to 1, but "
            f"got {fractions}."
        )
    names = np.array(sorted(subjects.astype(str).unique()))
    rng = np.random.default_rng(derive_seed(seed, "splits"))
    order = rng.permutation(len(names))
    bounds = np.rint(np.cumsum(fractions) * len(names)).astype(int)
    split_of: dict[str, str] = {}
    for split, start, end in zip(SPLITS, (0, *bounds[:2]), bounds, strict=True):
        split_of.update(dict.fromkeys(names[order[start:end]], split))
    return subjects.astype(str).map(split_of)


def in_share(subjects: pd.Series, among: pd.Series, share: float, seed: int, stream: str) -> pd.Series:
    """Draw a share of subjects.

    Args:
        subjects: Subject of each row.
        among: Whether the row's subject may be drawn.
        share: Share of these subjects that is drawn, in [0, 1].
        seed: Seed of the draw.
        stream: Name of the draw; draws of other names are independent.

    Returns:
        Whether the row's subject was drawn.
    """
    names = np.array(sorted(subjects[among].astype(str).unique()))
    order = np.random.default_rng(derive_seed(seed, stream)).permutation(len(names))
    drawn = set(names[order[: round(share * len(names))]])
    return among & subjects.astype(str).isin(drawn)


def take(num_rows: int, num_taken: int, seed: int, stream: str) -> np.ndarray:
    """Draw some of the row numbers, in ascending order; a larger draw contains a smaller one."""
    order = np.random.default_rng(derive_seed(seed, stream)).permutation(num_rows)
    return np.sort(order[:num_taken])
