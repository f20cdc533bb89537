"""How well a score tells members from non-members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from memcontrol.measures.statistics.intervals import (
    Interval,
    auc_replicates,
    bootstrap_weights,
    owners,
    percentile_interval,
)

__all__ = ["membership_auc", "tpr_replicates"]


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
    value, replicates = auc_replicates(members, others, member_subjects, other_subjects, seed=seed)
    return percentile_interval(value, replicates, min(len(set(member_subjects)), len(set(other_subjects))))


def tpr_replicates(
    members: ArrayLike,
    others: ArrayLike,
    member_subjects: Sequence[str],
    other_subjects: Sequence[str],
    fpr: float,
    num_replicates: int = 2000,
    seed: int = 0,
) -> tuple[float, np.ndarray] | None:
    """Return the share of members found at a false-positive rate; lower is less memorized.

    Args:
        members: Scores of training images, higher for more likely members, with shape `(n,)`.
        others: Scores of held-out images, with shape `(k,)`.
        member_subjects: Patient of each training image.
        other_subjects: Patient of each held-out image.
        fpr: False-positive rate, in (0, 1); the null where there is no base.
        num_replicates: Bootstrap replicates.
        seed: Seed of the replicates.

    Returns:
        The share, and bootstrap replicates with shape `(num_replicates,)`, over patients of both sides, so
        that the threshold varies too.
        None ("not estimable") with fewer than 10 / fpr non-members.

    References:
        Carlini et al., "Membership inference attacks from first principles", IEEE S&P 2022,
        https://arxiv.org/abs/2112.03570 (section IV).
    """
    inside, outside = np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if len(outside) < 10 / fpr:
        return None
    best_in, best_out = np.argsort(-inside), np.argsort(-outside)
    ranked = outside[best_out]
    above = np.searchsorted(-inside[best_in], -ranked)  # members above each threshold
    owner_in, num_in = owners(member_subjects)
    owner_out, num_out = owners(other_subjects)
    owner_in, owner_out = owner_in[best_in], owner_out[best_out]

    def share(weights_in: np.ndarray, weights_out: np.ndarray) -> float:
        alarms = np.cumsum(weights_out[owner_out])
        found = np.concatenate([[0.0], np.cumsum(weights_in[owner_in])])
        at = min(int(np.searchsorted(alarms, fpr * alarms[-1], side="right")), len(ranked) - 1)
        return float(found[above[at]] / found[-1])

    weights_in = bootstrap_weights(num_in, num_replicates, seed, "bootstrap members")
    weights_out = bootstrap_weights(num_out, num_replicates, seed, "bootstrap others")
    replicates = np.array([share(a, b) for a, b in zip(weights_in, weights_out, strict=True)])
    return share(np.ones(num_in), np.ones(num_out)), replicates
