"""How well a score tells members from non-members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from memcontrol.rewards.functional.intervals import Interval, auc_draws, from_draws, mean_interval

__all__ = ["membership_auc", "tpr_at_fpr"]


def membership_auc(
    members: ArrayLike,
    others: ArrayLike,
    member_subjects: Sequence[str],
    other_subjects: Sequence[str],
    seed: int = 0,
) -> Interval:
    """Return the area under the ROC curve; 0.5 is chance, lower is less memorized.

    Args:
        members: Scores of training images, higher for more likely members, with shape `(n,)`.
        others: Scores of held-out images, with shape `(k,)`.
        member_subjects: Patient of each training image.
        other_subjects: Patient of each held-out image.
        seed: Seed of the bootstrap.

    Example:
        >>> membership_auc([2.0, 3.0], [0.0, 2.5], ["a", "b"], ["c", "d"]).value
        0.75
    """
    value, draws = auc_draws(members, others, member_subjects, other_subjects, seed=seed)
    return from_draws(value, draws, min(len(set(member_subjects)), len(set(other_subjects))))


def tpr_at_fpr(
    members: ArrayLike, others: ArrayLike, member_subjects: Sequence[str], fpr: float, seed: int = 0
) -> Interval | None:
    """Return the share of members found at a false-positive rate; lower is less memorized, the null is `fpr`.

    Args:
        members: Scores of training images, higher for more likely members, with shape `(n,)`.
        others: Scores of held-out images, with shape `(k,)`.
        member_subjects: Patient of each training image.
        fpr: False-positive rate, in (0, 1).
        seed: Seed of the bootstrap.

    Returns:
        The share with its interval, or None ("not estimable") with fewer than 10 / fpr non-members.

    References:
        Carlini et al., "Membership inference attacks from first principles", IEEE S&P 2022,
        https://arxiv.org/abs/2112.03570 (section IV).
    """
    ranked = np.sort(np.asarray(others, dtype=np.float64))[::-1]
    if len(ranked) < 10 / fpr:
        return None
    threshold = ranked[int(np.floor(fpr * len(ranked)))]
    return mean_interval((np.asarray(members) > threshold).astype(float), member_subjects, seed=seed)
