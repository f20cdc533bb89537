"""Plant copies where the truth is known: what would an audit of these data find?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from memcontrol.audit.changes import KINDS, changed
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.features import split_features, split_pixels
from memcontrol.errors import RewardError
from memcontrol.measures.copies import CopyEncoder, CopyFinder
from memcontrol.measures.encoders import Encoder
from memcontrol.measures.functional.memorization import replication_threshold
from memcontrol.measures.functional.neighbours import nearest
from memcontrol.measures.statistics.pvalues import p_exceed, rank_of
from memcontrol.seeds import derive_seed

__all__ = ["AuditsDetector", "Detector", "Plant", "clean_sets", "found_shares", "mixed_sets", "planted"]


@dataclass(frozen=True)
class Detector:
    """Finds copies by the cosine of features.

    Args:
        encoder: Encodes images.
    """

    encoder: Encoder

    @property
    def name(self) -> str:
        """Name for tables."""
        return self.encoder.name

    def finder(self, data: CaptionedImageDataModule) -> Callable[[Tensor], Tensor]:
        """Return what tells how similar images are, from their features, to the nearest training image."""
        bank = split_features(data, "train", self.encoder)
        return lambda features: nearest(features, bank)[0]


@dataclass(frozen=True)
class AuditsDetector(Detector):
    """Finds copies as audits do."""

    encoder: Encoder = field(default_factory=CopyEncoder)

    @property
    def name(self) -> str:
        """Name for tables."""
        return "audit"

    def finder(self, data: CaptionedImageDataModule) -> Callable[[Tensor], Tensor]:
        """Return what tells how much images agree with the training image that they are most like a copy of."""
        finder = CopyFinder(split_features(data, "train", self.encoder))
        return lambda features: finder.match(features).similarity


@dataclass(frozen=True)
class Plant:
    """Similarities to training images, as one detector sees them.

    Args:
        held: Of held-out images, with shape `(k,)`.
        copies: Of planted copies of each kind, one patient each, with shape `(n,)` each.
    """

    held: Tensor
    copies: dict[str, Tensor]


def planted(data: CaptionedImageDataModule, detector: Detector, most: int = 400, seed: int = 0) -> Plant:
    """Plant a copy of one training image of each patient, of each kind.

    Args:
        data: The data, set up.
        detector: Compares them with training images.
        most: Most patients.
        seed: Seed of which these are, and of the changes.
    """
    find, patients = detector.finder(data), data.table("train")["subject_id"].astype(str).to_numpy()
    order = np.random.default_rng(derive_seed(seed, "planted")).permutation(len(patients))
    _, first = np.unique(patients[order], return_index=True)
    images = split_pixels(data, "train", order[np.sort(first)[:most]].tolist())
    others = split_pixels(data, "test", list(range(min(most, len(data.table("test"))))))
    held = find(split_features(data, "test", detector.encoder))
    bar = tqdm(KINDS, desc=f"copies as {detector.name} sees them", unit="kind", delay=2)
    copies = {kind: find(detector.encoder.encode(changed(images, kind, others, seed))) for kind in bar}
    return Plant(held, copies)


def _halves(data: CaptionedImageDataModule, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the patient of each held-out row, and the rows of two halves of the patients."""
    subjects = data.table("test")["subject_id"].astype(str).to_numpy()
    names = np.unique(subjects)
    if len(names) < 8:
        raise RewardError(f"The test split has {len(names)} patients; planting needs at least 8. Raise its share.")
    chosen = np.random.default_rng(derive_seed(seed, "halves")).permutation(names)[: len(names) // 2]
    inside = np.isin(subjects, chosen)
    return subjects, np.flatnonzero(inside), np.flatnonzero(~inside)


def found_shares(data: CaptionedImageDataModule, plants: dict[str, Plant], alpha: float, seed: int = 0) -> pd.DataFrame:
    """Return the share of planted copies of each kind that a threshold from half of the held-out patients finds.

    Args:
        data: The data, set up.
        plants: What each detector sees, by its name.
        alpha: Share of false alarms at which the threshold is set.
        seed: Seed of the halves.

    Returns:
        One column per detector: `false alarms` on the other half (lower is better), and the found share of each kind
        (higher is better), in [0, 1].
    """
    _, calibration, control = _halves(data, seed)
    columns = {}
    for name, plant in plants.items():
        threshold = replication_threshold(plant.held[calibration], max(alpha, 1 / (len(calibration) + 1)))
        shares = {"false alarms": plant.held[control], **plant.copies}
        columns[name] = {kind: float((values > threshold).double().mean()) for kind, values in shares.items()}
    return pd.DataFrame(columns)


def _p_of_set(
    held: Tensor, planted: Tensor, subjects: np.ndarray, rows: tuple[np.ndarray, np.ndarray], alpha: float
) -> float:
    """Return the p-value of a set of control images with some copies among them."""
    calibration, control = rows
    values = torch.cat([held[control], planted])
    names = [*subjects[control], *(f"copy {i}" for i in range(len(planted)))]
    rank = rank_of(alpha, len(set(subjects[calibration])))
    return p_exceed(values, names, held[calibration], list(subjects[calibration]), rank)


def clean_sets(
    data: CaptionedImageDataModule, plant: Plant, alpha: float, level: float, num_sets: int = 40, size: int = 100
) -> int:
    """Return how many of a number of clean sets are wrongly said to leak; each has patients of its own."""
    wrong = 0
    for number in range(num_sets):
        subjects, calibration, control = _halves(data, number)
        control = np.random.default_rng(derive_seed(number, "clean")).permutation(control)[:size]
        wrong += _p_of_set(plant.held, torch.empty(0), subjects, (calibration, control), alpha) < level
    return wrong


def mixed_sets(
    data: CaptionedImageDataModule,
    plant: Plant,
    alpha: float,
    level: float,
    shares: tuple[float, ...] = (0.05, 0.1, 0.5),
    num_sets: int = 20,
    size: int = 100,
) -> pd.DataFrame:
    """Return the share of sets that are said to leak, by kind of copy and share of copies in the set."""
    rows = []
    for kind, copies in plant.copies.items():
        row: dict[str, float | str] = {"copies": kind}
        for share in shares:
            right = 0
            for number in range(num_sets):
                subjects, calibration, control = _halves(data, number)
                rng = np.random.default_rng(derive_seed(number, kind, str(share)))
                chosen = copies[torch.from_numpy(rng.permutation(len(copies))[: round(share * size)])]
                rest = rng.permutation(control)[: size - len(chosen)]
                right += _p_of_set(plant.held, chosen, subjects, (calibration, rest), alpha) < level
            row[f"{100 * share:g} %"] = right / num_sets
        rows.append(row)
    return pd.DataFrame(rows).set_index("copies")
