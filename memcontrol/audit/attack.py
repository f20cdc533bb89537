"""The extraction attack on a model: which training images do samples of their own prompts give away?

Pictures are compared with training images as the model's autoencoder gives them back. It changes an image more than two
images of one patient may differ, so that compared with the image itself no picture would ever match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import torch
from scipy.stats import nhypergeom
from torch import Tensor

from memcontrol.audit.options import ExtractionOptions
from memcontrol.data.features import split_pixels
from memcontrol.measures import RealImages, ScoredModel
from memcontrol.measures.functional.extraction import clique_members, tile_distances
from memcontrol.measures.statistics.pvalues import rank_of
from memcontrol.seeds import derive_seed

__all__ = ["Extraction", "attack"]

AT_ONCE: Final = 64
NEAREST: Final = 16
"""Training images that a picture is compared with in full."""
MOST_KEPT: Final = 4096
"""Reconstructed training images that are kept."""


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
    candidates = _Candidates(model, real, options)
    nearest = torch.cat([candidates.distances(held)[0].min(dim=1).values for held in _heldout(model, real)])
    rank = rank_of(alpha, len(nearest) + 1)
    threshold = float(nearest.sort().values[rank - 1])
    texts = real.texts("train")
    rows = list(dict.fromkeys(real.prompts("train", options.prompts).rows))
    prompts = [texts[row] for row in rows for _ in range(options.samples)]
    seeds = [derive_seed(real.seed, "extraction", row, k) for row in rows for k in range(options.samples)]
    members = []
    for samples in _in_groups(model.sample(prompts, seeds, progress), options.samples):
        found = clique_members(samples, threshold, options.clique, options.tiles)
        if found:
            members.append(samples[found])
    given_away: set[int] = set()
    near = 0
    for pictures in members:
        distances, matched = candidates.distances(pictures)
        given_away |= set(matched[distances < threshold].tolist())
        near += bool((distances[0] < threshold).any())
    p = float(nhypergeom.sf(near - 1, len(members) + len(nearest), len(members), rank)) if members else 1.0
    return Extraction(len(rows), len(members), sorted(given_away), threshold, near, p)


@dataclass
class _Candidates:
    """The training images that pictures may match, as the autoencoder gives them back.

    Only the few of the most similar outlines are looked at: a training set does not fit into memory.
    """

    model: ScoredModel
    real: RealImages
    options: ExtractionOptions
    _known: dict[int, Tensor] = field(default_factory=dict)

    def distances(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distances of pictures to their candidates and the rows of these, both with shape `(n, k)`."""
        rows = self._rows(pictures)
        self._reconstruct(rows.unique().tolist())
        near = torch.stack([torch.stack([self._known[row] for row in line]) for line in rows.tolist()])
        found = [tile_distances(p[None], c, self.options.tiles)[0] for p, c in zip(pictures, near, strict=True)]
        return torch.stack(found), rows

    def _rows(self, pictures: Tensor) -> Tensor:
        return self.real.copies.candidates(self.real.copy_encoder.encode(pictures), NEAREST)

    def _reconstruct(self, rows: list[int]) -> None:
        missing = [row for row in rows if row not in self._known]
        if len(self._known) + len(missing) > MOST_KEPT:
            self._known.clear()
            missing = rows
        if missing:
            images = self.model.reconstruct(split_pixels(self.real.data, "train", missing))
            self._known.update(zip(missing, images, strict=True))


def _heldout(model: ScoredModel, real: RealImages) -> Iterator[Tensor]:
    """Yield held-out images as the autoencoder gives them back, a few at a time."""
    count = len(real.subjects(real.heldout_split))
    for start in range(0, count, AT_ONCE):
        rows = list(range(start, min(start + AT_ONCE, count)))
        yield model.reconstruct(split_pixels(real.data, real.heldout_split, rows))


def _in_groups(batches: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Yield images in groups of one size, whatever the batches that they come in."""
    waiting = torch.empty(0)
    for batch in batches:
        waiting = torch.cat([waiting, batch]) if len(waiting) else batch
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
