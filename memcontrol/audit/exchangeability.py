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

from memcontrol.measures import Evidence, RealImages
from memcontrol.measures.probes import LossProbe
from memcontrol.measures.statistics.intervals import owners
from memcontrol.measures.statistics.permutation import Labels, Pooled, exchangeable, p_labels
from memcontrol.seeds import derive_seed

__all__ = ["Exchangeability", "exchangeability"]

LEVEL: Final = 0.01
"""How rarely patients that were split at random count as different."""
DIRECTIONS: Final = 16
"""Principal directions of the features that are looked at."""
FOLDS: Final = 5
MOST: Final = 500
"""Patients of either side that are compared."""
RIDGE: Final = 1.0


@dataclass(frozen=True)
class Exchangeability:
    """Whether training and held-out patients are alike.

    Args:
        at_random: Whether the data module itself split patients at random, so that there is nothing to test.
        area: How well the two are told apart without the fine-tuned model, by patients that the classifier has not
            seen (AUC; 0.5 is not at all); None where that was not tested.
        p: P-value of telling them apart as well if labels told nothing, or None.
    """

    at_random: bool
    area: float | None = None
    p: float | None = None

    @property
    def holds(self) -> bool:
        """Whether comparisons between the two are fair."""
        return self.p is None or self.p >= LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "holds": self.holds}


def exchangeability(real: RealImages, base: Evidence | None, seed: int = 0) -> Exchangeability:
    """Test whether training and held-out patients can be told apart without the fine-tuned model.

    A ridge classifier of the images' features, and of the base's losses where there are any, is fitted on four fifths
    of the patients and applied to the rest; how well it does is compared with what it does under exchanged labels of
    patients. Patients that the data module has split at random are alike, and are not tested.

    Args:
        real: Real images.
        base: Evidence of the untouched base, if it was scored.
        seed: Seed of folds and labels.

    References:
        Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017, https://arxiv.org/abs/1610.06545.
        Kim et al., "Classification accuracy as a proxy for two-sample testing", Annals of Statistics 49 (2021).
    """
    if real.data.split_at_random:
        return Exchangeability(at_random=True)
    patients = [real.subjects(split) for split in ("train", real.heldout_split)]
    kept = [_some(names, seed) for names in patients]
    even = exchangeable(*([of[row] for row in rows] for of, rows in zip(patients, kept, strict=True)))
    kept = [rows[of] for rows, of in zip(kept, even, strict=True)]
    sides = [values[rows] for values, rows in zip(_described(real, base), kept, strict=True)]
    names = [[of[row] for row in rows] for of, rows in zip(patients, kept, strict=True)]
    (owner_a, num_a), (owner_b, num_b) = map(owners, names)
    owner, values = np.concatenate([owner_a, num_a + owner_b]), np.concatenate(sides)
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    folds = np.random.default_rng(derive_seed(seed, "folds")).permutation(num_a + num_b) % FOLDS
    told = _predictor(values, folds[owner])

    def separation(labels: Labels) -> np.ndarray:
        inside = labels[:, owner].T.astype(float)
        said = told @ inside
        means = [(said * side).sum(axis=0) / side.sum(axis=0) for side in (inside, 1 - inside)]
        found: np.ndarray = (means[0] - means[1]) / np.maximum(said.std(axis=0), 1e-12)
        return found

    said = told @ np.repeat([1.0, 0.0], [len(side) for side in sides])
    pooled = Pooled.of(said[: len(sides[0])], said[len(sides[0]) :], *names)
    return Exchangeability(
        False, float(pooled.auc(pooled.labels)[0]), p_labels(pooled, separation, seed, is_normal=True)
    )


def _described(real: RealImages, base: Evidence | None) -> list[np.ndarray]:
    """Return what is known of training and of held-out images without the fine-tuned model."""
    sides = [real.training.double(), real.heldout.double()]
    middle = torch.cat(sides).mean(dim=0)
    spread = torch.cat(sides) - middle
    directions = torch.linalg.eigh(spread.T @ spread).eigenvectors[:, -DIRECTIONS:]  # by rising variance
    found = [((side - middle) @ directions).numpy() for side in sides]
    needs = (LossProbe("train"), LossProbe("heldout"))
    if base is None or not base.holds(needs):
        return found
    probed = [base[need] for need in needs]
    if any(len(of.rows) < len(side) for of, side in zip(probed, sides, strict=True)):
        return found  # some were probed only
    losses = [of.scores.double().log().numpy()[np.argsort(of.rows)] for of in probed]
    return [np.concatenate(parts, axis=1) for parts in zip(found, losses, strict=True)]


def _some(subjects: list[str], seed: int) -> np.ndarray:
    """Return the rows of as many patients as are compared."""
    names = np.unique(subjects)
    chosen = np.random.default_rng(derive_seed(seed, "compared patients")).permutation(names)[:MOST]
    return np.flatnonzero(np.isin(subjects, chosen))


def _predictor(values: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the matrix that maps labels to what the classifier says of images whose patients it has not seen."""
    matrix = np.zeros((len(values), len(values)))
    for fold in range(FOLDS):
        rest, own = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        x = values[rest] - values[rest].mean(axis=0)
        inverse = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T)
        matrix[np.ix_(own, rest)] = (values[own] - values[rest].mean(axis=0)) @ inverse
    return matrix
