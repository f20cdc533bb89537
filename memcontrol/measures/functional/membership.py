"""How well a score tells members from non-members."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from memcontrol.measures.statistics.areas import auc_interval
from memcontrol.measures.statistics.intervals import Interval, owners
from memcontrol.measures.statistics.permutation import Labels

__all__ = ["hits_at_fpr", "membership_auc", "tpr_of_labels"]


def membership_auc(
    members: ArrayLike,
    others: ArrayLike,
    member_subjects: Sequence[str],
    other_subjects: Sequence[str],
) -> Interval:
    """Return the area under the ROC curve; 0.5 is chance, lower is less memorized.

    Args:
        members: Scores of training images, higher for more likely members, with shape `(n,)`.
        others: Scores of held-out images, with shape `(k,)`.
        member_subjects: Patient of each training image.
        other_subjects: Patient of each held-out image.

    Example:
        >>> membership_auc([2.0, 3.0], [0.0, 2.5], ["a", "b"], ["c", "d"]).value
        0.75
    """
    return auc_interval(members, others, member_subjects, other_subjects)


def hits_at_fpr(members: np.ndarray, others: np.ndarray, fpr: float) -> np.ndarray:
    """Tell which members are found at a false-positive rate.

    Args:
        members: Scores of training images, higher for more likely members, with shape `(n,)`.
        others: Scores of held-out images, with shape `(k,)`.
        fpr: False-positive rate, in (0, 1).

    Returns:
        Whether each member lies above the threshold that at most a share `fpr` of the others exceeds.

    References:
        Carlini et al., "Membership inference attacks from first principles", IEEE S&P 2022,
        https://arxiv.org/abs/2112.03570 (section IV).

    Example:
        >>> hits_at_fpr(np.array([0.5, 3.0]), np.arange(4.0), 0.25)
        array([False,  True])
    """
    allowed = int(fpr * len(others) + 1e-9)
    found: np.ndarray = members > np.sort(others)[::-1][min(allowed, len(others) - 1)]
    return found


def tpr_of_labels(
    members: np.ndarray,
    others: np.ndarray,
    member_subjects: Sequence[str],
    other_subjects: Sequence[str],
    fpr: float,
) -> Callable[[Labels], np.ndarray]:
    """Return the share of members that is found at a false-positive rate as a function of who counts as a member.

    Args:
        members: Scores of training images, higher for more likely members, with shape `(n,)`.
        others: Scores of held-out images, with shape `(k,)`.
        member_subjects: Patient of each training image.
        other_subjects: Patient of each held-out image.
        fpr: False-positive rate, in (0, 1).

    Returns:
        A function of labels with shape `(B, P)`, patients of members first, see
        `memcontrol.measures.statistics.permutation.Pooled`; lower is less memorized.
    """
    (owner_in, num_in), (owner_out, _) = owners(member_subjects), owners(other_subjects)
    scores = -np.concatenate([members, others])
    order = np.argsort(scores, kind="stable")
    owner, scores = np.concatenate([owner_in, num_in + owner_out])[order], scores[order]
    last = np.searchsorted(scores, scores, side="right") - 1  # of those that share a score, none comes first

    def share(labels: Labels) -> np.ndarray:
        inside = labels[:, owner]
        alarms = np.cumsum(~inside, axis=1, dtype=np.int32)
        kept = inside & (alarms[:, last] <= (fpr * alarms[:, -1:] + 1e-9).astype(np.int32))
        found: np.ndarray = kept.sum(axis=1) / inside.sum(axis=1)
        return found

    return share
