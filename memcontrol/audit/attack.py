"""The extraction attack on a model: which training images do samples of training prompts give away?

Samples of one prompt that agree with each other are compared with training images as the model's autoencoder gives them
back. It changes an image more than two images of one patient may differ, so that compared with the image itself no
picture would ever match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor

from memcontrol.audit.options import ExtractionOptions
from memcontrol.data.features import split_pixels
from memcontrol.measures import Evidence, RealImages, Samples, ScoredModel
from memcontrol.measures.copies import CopyFinder, rarity
from memcontrol.measures.functional.extraction import clique_members, tile_distances
from memcontrol.measures.nearness import controls
from memcontrol.measures.statistics.pvalues import rank_of
from memcontrol.measures.statistics.tails import by_patient, p_beyond
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
        screened: Training prompts that one picture was drawn for.
        prompts: Those of them, with the pictures most like a copy, that many samples were drawn for.
        flagged: Attacked prompts whose samples hold a clique.
        extracted: Rows of training images that a clique's member matches.
        threshold: Distance below which two images match; held-out images lie below it as rarely as alpha says.
        agreement: By row of a training image that an attacked prompt's first picture was most like: how much its
            samples agree with it, in [-1, 1] (that of the `clique`-th).
        p: P-value of the largest agreement of so many prompts.
    """

    screened: int
    prompts: int
    flagged: int
    extracted: list[int]
    threshold: float
    agreement: dict[int, float]
    p: float


def attack(
    model: ScoredModel,
    real: RealImages,
    evidence: Evidence,
    options: ExtractionOptions,
    alpha: float,
    progress: bool = True,
) -> Extraction | None:
    """Attack the prompts of training images.

    One picture of each prompt is compared with all training images. For the prompts with the most similar ones, further
    pictures are drawn and compared with that one training image alone. Were the model to know no image, the agreement
    of such a picture would be as that of a held-out image, or of a picture for a held-out prompt. That at least c of s
    agree as much is at most s / c times as likely as that one does (Markov), and n times that bounds the chance for
    any of n prompts.

    Args:
        model: The model.
        real: Real images; held-out ones set the threshold of matching distances.
        evidence: Evidence of the model. Its pictures for training prompts are not drawn again, those for held-out
            prompts are a second null, if there are any.
        options: How many prompts and samples.
        alpha: Share of held-out images that may match a training image.
        progress: Whether to show bars.

    Returns:
        The outcome, or None where no prompts are asked for.
    """
    if options.prompts < 1:
        return None
    texts = real.texts("train")
    rows, suspects = _suspects(model, real, evidence, options, progress)
    prompts = [texts[row] for row, _ in suspects for _ in range(options.samples)]
    seeds = [derive_seed(real.seed, "extraction", row, k) for row, _ in suspects for k in range(options.samples)]
    candidates = _Candidates(model, real, options)
    threshold = _threshold(candidates, alpha)
    flagged, given_away, agreement = 0, set[int](), dict[int, float]()
    groups = _in_groups(model.sample(prompts, seeds, progress), options.samples)
    for (_, target), samples in zip(suspects, groups, strict=True):
        known = _agreement(real, samples, target, options.clique)
        agreement[target] = max(known, agreement.get(target, -1.0))
        found = clique_members(samples, threshold, options.clique, options.tiles)
        if found:
            distances, matched = candidates.distances(samples[found])
            flagged += 1
            given_away |= set(matched[distances < threshold].tolist())
    nulls, heldout = [real.no_copies], evidence.get(Samples("heldout"))
    if heldout is not None:
        drawn, patients = controls(heldout, real)
        nulls.append(by_patient(drawn.numpy(), patients, largest=True)[1])
    chances = len(rows) * options.samples / options.clique
    worst = rarity(np.array([max(agreement.values())]))
    p = min(1.0, chances * max(float(p_beyond(worst, rarity(null))[0]) for null in nulls))
    return Extraction(len(rows), len(suspects), flagged, sorted(given_away), threshold, agreement, p)


def _suspects(
    model: ScoredModel, real: RealImages, evidence: Evidence, options: ExtractionOptions, progress: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the screened rows, and of the most suspicious ones the row and that of the image they are most like."""
    quota = real.prompts("train", min(max(options.screened, options.prompts), len(real.contents)))
    texts, known, sampled = real.texts("train"), dict[int, tuple[float, int]](), evidence.get(Samples("train"))
    if sampled is not None:
        match = real.match(sampled.copy_features)
        found = zip(match.similarity.tolist(), match.row.tolist(), strict=True)
        known = dict(reversed(list(zip(sampled.rows, found, strict=True))))  # of several of one prompt the first
    missing = [(row, seed) for row, seed in zip(quota.rows, quota.seeds, strict=True) if row not in known]
    if missing:
        drawn = model.sample([texts[row] for row, _ in missing], [seed for _, seed in missing], progress)
        match = real.copies.match(torch.cat([real.copy_encoder.encode(images) for images in drawn]))
        found = zip(match.similarity.tolist(), match.row.tolist(), strict=True)
        known |= dict(zip((row for row, _ in missing), found, strict=True))
    suspects = sorted(quota.rows, key=lambda row: -known[row][0])[: options.prompts]
    return quota.rows, [(row, known[row][1]) for row in suspects]


def _agreement(real: RealImages, samples: Tensor, target: int, clique: int) -> float:
    """Return how much the clique-th best of the samples agrees with a training image."""
    alone = CopyFinder(real.copies.bank[target : target + 1])
    found = alone.match(real.copy_encoder.encode(samples)).similarity
    return float(found.sort(descending=True).values[min(clique, len(found)) - 1])


def _threshold(candidates: _Candidates, alpha: float) -> float:
    held = _heldout(candidates.model, candidates.real)
    nearest = torch.cat([candidates.distances(images)[0].min(dim=1).values for images in held])
    return float(nearest.sort().values[rank_of(alpha, len(nearest) + 1) - 1])


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
