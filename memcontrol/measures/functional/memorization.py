"""Does what is drawn lie too near to what was trained on? Features in, numbers out.

G are generated images, T the training images, H held-out real images of other patients.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from memcontrol.measures.functional.neighbours import nearest, own_distance

__all__ = ["authentic", "minimal_distances", "own_prompt_hits", "replication_threshold"]


def minimal_distances(generated: Tensor, training: Tensor) -> Tensor:
    """Return each image's cosine distance to the nearest training image; their mean is AMD.

    Args:
        generated: Features with shape `(n, D)`.
        training: Features with shape `(m, D)`.

    Returns:
        Distances in [0, 2], with shape `(n,)`; higher is less memorized.

    References:
        Dutt et al., "MemControl", WACV 2025, https://arxiv.org/abs/2405.19458 (section 4).

    Example:
        >>> minimal_distances(torch.eye(2), torch.eye(2)[:1])
        tensor([0., 1.])
    """
    return 1 - nearest(generated, training)[0]


def own_prompt_hits(found: Tensor, own: Tensor, contents: list[str]) -> Tensor:
    """Tell whether the nearest training image is the one that the prompt belongs to.

    Args:
        found: Row of the nearest training image, with shape `(n,)`.
        own: Row of the training image that the prompt was taken from, with shape `(n,)`.
        contents: Digest of each training image, so that copies of one image count as it.

    Returns:
        0 or 1, with shape `(n,)`; lower is less memorized, but never compare with 1/m: a prompt tells view, age and
        finding. The null is the untouched base on the same prompts and seeds.
    """
    names = np.asarray(contents)
    return torch.from_numpy((names[found.numpy()] == names[own.numpy()]).astype(np.float64))


def replication_threshold(calibration: Tensor, alpha: float = 0.01) -> float:
    """Return the similarity to training images that a share alpha of held-out images exceeds.

    Args:
        calibration: Similarity of each held-out image to its nearest training image, with shape `(k,)`.
        alpha: Share of false alarms, in (0, 1); needs at least 1 / alpha images.

    Returns:
        The threshold, with the finite-sample correction of conformal prediction: exceeded by a new exchangeable image
        with a probability of at most alpha. Infinite where there are too few images.

    References:
        Angelopoulos and Bates, "A gentle introduction to conformal prediction", 2021,
        https://arxiv.org/abs/2107.07511 (section 1).

    Example:
        >>> replication_threshold(torch.arange(99.0), alpha=0.1)
        89.0
    """
    ranked = np.sort(np.asarray(calibration, dtype=np.float64))
    rank = int(np.ceil((len(ranked) + 1) * (1 - alpha)))
    return float(ranked[rank - 1]) if rank <= len(ranked) else float("inf")


def authentic(generated: Tensor, training: Tensor) -> Tensor:
    """Tell which images are farther from their training neighbour than that one is from its own.

    Args:
        generated: Features with shape `(n, D)`.
        training: Features with shape `(m, D)`.

    Returns:
        0 or 1, with shape `(n,)`; their mean is authenticity: higher is less memorized.

    References:
        Alaa et al., "How faithful is your synthetic data?", ICML 2022, https://arxiv.org/abs/2102.08921 (section 4.3).
    """
    similarity, index = nearest(generated, training)
    rows, where = index.unique(return_inverse=True)
    return (1 - similarity > own_distance(training, rows)[where]).double()
