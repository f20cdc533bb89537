"""Are training and held-out patients alike before any fine-tuning? Else comparing them says nothing about leaks.

A model that adapts to a hospital comes nearer to all of its patients, seen or not. If the held-out patients are of
another one, the seen ones stand out without any leak. Whether they could be told apart anyway is tested without the
fine-tuned model: by features of the real images and by what the untouched base makes of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from scipy.stats import rankdata

from memcontrol.measures import Evidence, RealImages
from memcontrol.measures.probes import LossProbe, UncaptionedLossProbe
from memcontrol.measures.statistics.intervals import owners
from memcontrol.seeds import derive_seed

__all__ = ["Exchangeability", "exchangeability"]

LEVEL: Final = 0.01
"""How rarely patients that were split at random count as different."""
DIRECTIONS: Final = 16
"""Principal directions of the features that are looked at."""
FOLDS: Final = 5
LABELINGS: Final = 1999
MOST: Final = 1000
"""Patients of either side that are compared."""
RIDGE: Final = 1.0


@dataclass(frozen=True)
class Exchangeability:
    """Whether training and held-out patients are alike.

    Args:
        at_random: Whether the data module itself split patients at random, so that there is nothing to test.
        area: How well the two are told apart without the fine-tuned model, by patients that the classifier has not
            seen (AUC; 0.5 is not at all).
        p: P-value of telling them apart as well if labels told nothing.
    """

    at_random: bool
    area: float
    p: float

    @property
    def holds(self) -> bool:
        """Whether comparisons between the two are fair."""
        return self.at_random or self.p >= LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "holds": self.holds}


def exchangeability(real: RealImages, base: Evidence | None, seed: int = 0) -> Exchangeability:
    """Test whether training and held-out patients can be told apart without the fine-tuned model.

    A ridge classifier of the images' features, and of the base's losses where there are any, is fitted on four fifths
    of the patients and applied to the rest; how well it does is compared with what it does under exchanged labels of
    patients.

    Args:
        real: Real images.
        base: Evidence of the untouched base, if it was scored.
        seed: Seed of folds and labels.

    References:
        Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017, https://arxiv.org/abs/1610.06545.
        Kim et al., "Classification accuracy as a proxy for two-sample testing", Annals of Statistics 49 (2021).
    """
    sides = [_described(real, base, side) for side in ("train", real.heldout_split)]
    (a, of_a), (b, of_b) = (_some(values, subjects, seed) for values, subjects in sides)
    (owner_a, num_a), (owner_b, num_b) = owners(of_a), owners(of_b)
    owner, patients = np.concatenate([owner_a, num_a + owner_b]), num_a + num_b
    values = np.concatenate([a, b])
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    rng = np.random.default_rng(derive_seed(seed, "exchangeability"))
    told = _predictor(values, (rng.permutation(patients) % FOLDS)[owner])
    inside = (np.arange(patients) < num_a).astype(float)
    labels = np.stack([inside, *(rng.permutation(inside) for _ in range(LABELINGS))])[:, owner]
    found = _separation(told @ labels.T, labels.T)
    p = float((found >= found[0] - 1e-12).sum() / len(found))
    return Exchangeability(real.data.split_at_random, _area(told @ labels[0], labels[0] > 0), p)


def _described(real: RealImages, base: Evidence | None, split: str) -> tuple[np.ndarray, list[str]]:
    """Return what is known of the images of a split without the fine-tuned model, and their patients."""
    both = torch.cat([real.training, real.heldout]).double()
    middle = both.mean(dim=0)
    _, directions = torch.linalg.eigh((both - middle).T @ (both - middle))  # by rising variance
    directions = directions[:, -DIRECTIONS:]
    features = real.training if split == "train" else real.heldout
    values, subjects = ((features.double() - middle) @ directions).numpy(), real.subjects(split)
    for kind in (LossProbe, UncaptionedLossProbe):
        needs = {"train": kind("train"), real.heldout_split: kind("heldout")}
        if base is None or not base.holds(needs.values()):
            continue
        if any(len(base[need].rows) < len(real.subjects(side)) for side, need in needs.items()):
            continue  # not all were probed
        probed = base[needs[split]]
        values = np.concatenate([values, probed.scores.double().log().numpy()[np.argsort(probed.rows)]], axis=1)
    return values, subjects


def _some(values: np.ndarray, subjects: list[str], seed: int) -> tuple[np.ndarray, list[str]]:
    """Keep as many patients as are compared."""
    names = np.unique(subjects)
    chosen = np.random.default_rng(derive_seed(seed, "compared patients")).permutation(names)[:MOST]
    kept = np.flatnonzero(np.isin(subjects, chosen))
    return values[kept], [subjects[row] for row in kept]


def _predictor(values: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the matrix that maps labels to what the classifier says of images whose patients it has not seen."""
    matrix = np.zeros((len(values), len(values)))
    for fold in range(FOLDS):
        rest, own = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        x = values[rest] - values[rest].mean(axis=0)
        inverse = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T)
        matrix[np.ix_(own, rest)] = (values[own] - values[rest].mean(axis=0)) @ inverse
    return matrix


def _separation(told: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how far apart the classifier sets both sides, in standard deviations, by column."""
    inside = (told * labels).sum(axis=0) / labels.sum(axis=0)
    outside = (told * (1 - labels)).sum(axis=0) / (1 - labels).sum(axis=0)
    found: np.ndarray = (inside - outside) / np.maximum(told.std(axis=0), 1e-12)
    return found


def _area(told: np.ndarray, inside: np.ndarray) -> float:
    ranks, count = rankdata(told), int(inside.sum())
    return float((ranks[inside].sum() - count * (count + 1) / 2) / (count * (len(told) - count)))
