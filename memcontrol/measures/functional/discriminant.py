"""What tells two groups apart, learnt on some and asked of others."""

from __future__ import annotations

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

__all__ = ["discriminant_scores"]


def discriminant_scores(
    inside: np.ndarray, outside: np.ndarray, others_inside: np.ndarray, others_outside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of others by the linear discriminant of two groups; higher is more like `inside`.

    Args:
        inside: Features of one group, with shape `(n, D)`.
        outside: Features of the other one, with shape `(m, D)`.
        others_inside: Features to score, with shape `(k, D)`.
        others_outside: Further features to score, with shape `(l, D)`.

    Returns:
        Scores with shapes `(k,)` and `(l,)`; all 0 where no feature varies.

    References:
        Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
        Multivariate Analysis 88 (2004): the covariance within groups is shrunk by as much as its noise asks for.
    """
    features = np.concatenate([inside, outside])
    labels = np.repeat([1, 0], [len(inside), len(outside)])
    varying = features.std(axis=0) > 0
    if not varying.any():
        return np.zeros(len(others_inside)), np.zeros(len(others_outside))
    found = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
    found.fit(features[:, varying], labels)
    return found.decision_function(others_inside[:, varying]), found.decision_function(others_outside[:, varying])
