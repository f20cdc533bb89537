"""What nearness to training images would be without memorization: the same of held-out prompts.

A training prompt's own picture, and its patient's others, are among the training images; a model that only follows
captions comes near to them. A held-out prompt gets the same chance here: its patient's images join the training images.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from memcontrol.rewards.functional.memorization import authentic, minimal_distances
from memcontrol.rewards.functional.neighbours import nearest
from memcontrol.scoring.evidence import Drawn
from memcontrol.scoring.real import RealImages

__all__ = ["outside_values"]


def outside_values(name: str, drawn: Drawn, real: RealImages) -> Tensor:
    """Return a statistic of pictures of held-out prompts, image by image.

    Args:
        name: `own_prompt`, `amd` or `authenticity`.
        drawn: Drawn for held-out prompts.
        real: Real images.

    Returns:
        What `nearness_functions` would give if the prompt's patient were in the training split, with shape `(n,)`.
    """
    if name == "own_prompt":
        return _hits(drawn, real)
    distances = minimal_distances(drawn.features, real.training)
    similarity, row = _of_the_same_patient(drawn, real.held[:, None], drawn.features, real)
    own = 1 - similarity
    if name == "amd":
        return torch.minimum(distances, own)
    theirs = 1 - nearest(real.held[row], real.training)[0]
    return torch.where(own < distances, (own > theirs).double(), authentic(drawn.features, real.training))


def _hits(drawn: Drawn, real: RealImages) -> Tensor:
    views = real.held_bank.reshape(len(real.held_bank), real.views.num_views, -1)
    similarity, row = _of_the_same_patient(drawn, views, drawn.thumbnails, real)
    contents = np.asarray([str(content) for content in real.data.table(real.heldout)["content"]])
    own = torch.from_numpy(contents[row.numpy()] == contents[np.asarray(drawn.rows)])
    return (own & (similarity > real.match(drawn.thumbnails).similarity)).double()


def _of_the_same_patient(drawn: Drawn, bank: Tensor, queries: Tensor, real: RealImages) -> tuple[Tensor, Tensor]:
    """Find the nearest held-out image of each prompt's own patient; the bank has shape `(k, views, D)`."""
    subjects = np.asarray(real.subjects(real.heldout))
    best, rows = [], []
    for query, subject in zip(normalize(queries.float(), dim=1), drawn.subjects, strict=True):
        of_patient = torch.from_numpy(np.flatnonzero(subjects == subject))
        similarity = (normalize(bank[of_patient].float(), dim=2) @ query).max(dim=1).values
        found = int(similarity.argmax())
        best.append(similarity[found])
        rows.append(of_patient[found])
    return torch.stack(best).clamp(max=1.0), torch.stack(rows)
