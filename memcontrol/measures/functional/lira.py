"""How likely an image's error is if it was trained on, against if it was not, by what shadow models show."""

from __future__ import annotations

import numpy as np

__all__ = ["likelihood_ratios"]


def likelihood_ratios(scores: np.ndarray, shadows: np.ndarray, members: np.ndarray) -> np.ndarray:
    r"""Return a logarithm of the likelihood ratio of each image; higher for members.

    Scores of an image are taken for normal, around one mean where it was trained on and another where it was not, with
    one variance for all. With few shadow models the gap between an image's two means is mostly noise, so it is drawn
    towards the mean gap by as much as its own variance among images does not explain.

    Args:
        scores: Scores of the model in question, higher for members, with shape `(n,)`.
        shadows: Scores of shadow models, with shape `(n, K)`.
        members: Which of these were trained on the image, with shape `(n, K)`; each image is in some and out of some.

    Returns:
        Log likelihood ratios with shape `(n,)`.

    References:
        Carlini et al., "Membership inference attacks from first principles", IEEE S&P 2022,
        https://arxiv.org/abs/2112.03570 (section VI, online attack with a global variance). The gap's shrinkage is that
        of Morris, "Parametric empirical Bayes inference", JASA 78 (1983).
    """
    inside, outside = members.sum(axis=1), (~members).sum(axis=1)
    mean_in = np.where(members, shadows, 0).sum(axis=1) / inside
    mean_out = np.where(members, 0, shadows).sum(axis=1) / outside
    rest = np.where(members, shadows - mean_in[:, None], shadows - mean_out[:, None])
    freedom = int((inside - 1).sum() + (outside - 1).sum())
    variance = float((rest**2).sum()) / freedom if freedom else float((scores - mean_out).var())
    gaps = mean_in - mean_out
    noise = variance * (1 / inside + 1 / outside)
    between = max(0.0, float(gaps.var()) - float(noise.mean()))
    weight = between / (between + noise) if between > 0 else np.zeros(len(gaps))
    gaps = gaps.mean() + weight * (gaps - gaps.mean())
    middle = (mean_in + mean_out) / 2
    return gaps * (scores - middle) / max(variance, 1e-24)  # type: ignore[no-any-return]
