"""The extraction attack on a model: which training images do samples of their own prompts give away?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from scipy.stats import nhypergeom
from torch import Tensor

from memcontrol.audit.options import ExtractionOptions
from memcontrol.data.features import split_pixels
from memcontrol.measures import RealImages, ScoredModel
from memcontrol.measures.functional.extraction import clique_members, matched, tile_distances
from memcontrol.measures.statistics.pvalues import rank_of
from memcontrol.seeds import derive_seed

__all__ = ["Extraction", "attack"]

BLOCK: Final = 1024


@dataclass(frozen=True)
class Extraction:
    """Outcome of the attack.

    Args:
        prompts: Attacked prompts.
        flagged: Prompts whose samples hold a clique.
        extracted: Rows of training images that a clique's member matches.
        threshold: Distance below which two images match; held-out images lie below it as rarely as alpha says.
        matched: Flagged prompts whose clique's first member matches a training image.
        p: P-value of as many, if such members were as near to training images as held-out images are.
    """

    prompts: int
    flagged: int
    extracted: list[int]
    threshold: float
    matched: int = 0
    p: float = 1.0


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
    held = torch.cat([block for _, block in _blocks(real, real.heldout_split, len(real.subjects(real.heldout_split)))])
    nearest = torch.full((len(held),), torch.inf)
    for _, block in _blocks(real, "train", len(real.contents)):
        nearest = torch.minimum(nearest, tile_distances(held, block, options.tiles).min(dim=1).values)
    rank = rank_of(alpha, len(nearest) + 1)
    threshold = float(nearest.sort().values[rank - 1])
    texts = real.texts("train")
    rows = list(dict.fromkeys(real.prompts("train", options.prompts).rows))
    prompts = [texts[row] for row in rows for _ in range(options.samples)]
    seeds = [derive_seed(real.seed, "extraction", row, k) for row in rows for k in range(options.samples)]
    members, first = [], []
    for samples in _in_groups(model.sample(prompts, seeds, progress), options.samples):
        found = clique_members(samples, threshold, options.clique, options.tiles)
        if found:
            members.append(samples[found])
            first.append(samples[found[0]])
    given_away = _matches(torch.cat(members), real, threshold, options) if members else []
    near = _near(torch.stack(first), real, threshold, options) if first else 0
    p = float(nhypergeom.sf(near - 1, len(first) + len(nearest), len(first), rank)) if first else 1.0
    return Extraction(len(rows), len(members), given_away, threshold, near, p)


def _near(images: Tensor, real: RealImages, threshold: float, options: ExtractionOptions) -> int:
    """Return how many images match some training image."""
    near = torch.zeros(len(images), dtype=torch.bool)
    for _, block in _blocks(real, "train", len(real.contents)):
        near |= (tile_distances(images, block, options.tiles) < threshold).any(dim=1)
    return int(near.sum())


def _blocks(real: RealImages, split: str, count: int) -> Iterator[tuple[int, Tensor]]:
    """Yield a split's images in blocks, each with its first row: a training set does not fit into memory."""
    for start in range(0, count, BLOCK):
        yield start, split_pixels(real.data, split, list(range(start, min(start + BLOCK, count))))


def _in_groups(batches: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Yield images in groups of one size, whatever the batches that they come in."""
    waiting = torch.empty(0)
    for batch in batches:
        waiting = torch.cat([waiting, batch]) if len(waiting) else batch
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]


def _matches(members: Tensor, real: RealImages, threshold: float, options: ExtractionOptions) -> list[int]:
    """Return the rows of training images that some clique's member matches."""
    blocks = _blocks(real, "train", len(real.contents))
    return [start + row for start, block in blocks for row in matched(members, block, threshold, options.tiles)]
