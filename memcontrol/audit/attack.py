"""The extraction attack on a model: which training images do samples of their own prompts give away?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memcontrol.audit.options import ExtractionOptions
from memcontrol.data.features import split_pixels
from memcontrol.rewards.functional.extraction import cliques, extracted, tile_distances
from memcontrol.rewards.functional.memorization import replication_threshold
from memcontrol.scoring import RealImages, ScoredModel
from memcontrol.seeds import derive_seed

__all__ = ["Extraction", "attack"]


@dataclass(frozen=True)
class Extraction:
    """Outcome of the attack.

    Args:
        prompts: Attacked prompts.
        flagged: Prompts whose samples hold a clique.
        extracted: Rows of training images that a clique's member matches.
        threshold: Distance below which two images match; held-out images lie below it as rarely as alpha says.
    """

    prompts: int
    flagged: int
    extracted: list[int]
    threshold: float


def attack(
    model: ScoredModel, real: RealImages, options: ExtractionOptions, alpha: float, progress: bool = True
) -> Extraction | None:
    """Attack the prompts of training images.

    Args:
        model: The model.
        real: Real images; held-out ones set the threshold.
        options: How many prompts and samples.
        alpha: Share of held-out images that may match a training image.
        progress: Whether to show bars.

    Returns:
        The outcome, or None where no prompts are asked for.
    """
    if options.prompts < 1:
        return None
    training = split_pixels(real.data, "train", list(range(len(real.contents))))
    heldout = split_pixels(real.data, real.heldout, list(range(len(real.held))))
    nearest = tile_distances(heldout, training, options.tiles).min(dim=1).values
    threshold = -replication_threshold(-nearest, max(alpha, 1 / (len(nearest) + 1)))
    texts = real.texts("train")
    rows = list(dict.fromkeys(real.prompts("train", options.prompts).rows))
    prompts = [texts[row] for row in rows for _ in range(options.samples)]
    seeds = [derive_seed(real.seed, "extraction", row, k) for row in rows for k in range(options.samples)]
    images = torch.cat(list(model.draw(prompts, seeds, progress)))
    flagged, found = 0, set[int]()
    for samples in images.split(options.samples):
        flagged += bool(_has_clique(samples, threshold, options))
        found |= set(extracted(samples, training, threshold, options.clique, options.tiles))
    return Extraction(len(rows), flagged, sorted(found), threshold)


def _has_clique(samples: Tensor, threshold: float, options: ExtractionOptions) -> bool:
    distances = tile_distances(samples, samples, options.tiles)
    return bool(torch.isfinite(torch.tensor(threshold))) and bool(cliques(distances, threshold, options.clique))
