"""Real images as scoring sees them: features and patients of training and held-out images."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.features import split_features
from memcontrol.errors import RewardError
from memcontrol.measures.copies import CopyEncoder, CopyFinder, Match, rarity
from memcontrol.measures.encoders import Encoder
from memcontrol.measures.functional.memorization import replication_threshold
from memcontrol.measures.statistics.tails import by_patient, p_beyond
from memcontrol.seeds import derive_seed
from memcontrol.types import Side

__all__ = ["Quota", "RealImages"]

NEAR_COPY: Final = 1e-3
"""Chance that among held-out images without a copy one is taken for one."""


@dataclass(frozen=True)
class Quota:
    """Which rows of a split are used, and with which seeds.

    Args:
        rows: Rows of the split's table.
        seeds: One seed per row.
    """

    rows: list[int]
    seeds: list[int]


class RealImages:
    """Features of the training split and of one held-out split.

    Args:
        data: The data, set up.
        heldout_split: `validate` (callbacks, search) or `test` (audits).
        encoder: Features of quality and of nearest neighbours.
        seed: Seed of everything that is chosen here.

    Raises:
        RewardError: If there are too few held-out patients.
    """

    def __init__(self, data: CaptionedImageDataModule, heldout_split: str, encoder: Encoder, seed: int = 0) -> None:
        self.data = data
        self.heldout_split = heldout_split
        self.encoder = encoder
        self.seed = seed
        self.copy_encoder = CopyEncoder()
        self._matches: MutableMapping[Tensor, Match] = WeakIdKeyDictionary()
        self._own_matches: MutableMapping[Tensor, Match] = WeakIdKeyDictionary()
        if len(self.subjects(heldout_split)) < 8 or len(set(self.subjects(heldout_split))) < 4:
            raise RewardError(
                f"The split `{heldout_split}` has {len(self.subjects(heldout_split))} images of "
                f"{len(set(self.subjects(heldout_split)))} patients; scoring needs at least 8 images of 4 patients. "
                "Change `data.split_fractions` or `data.max_eval_images`."
            )

    def split_of(self, side: Side) -> str:
        """Return the split that a side stands for."""
        return "train" if side == "train" else self.heldout_split

    def subjects(self, split: str) -> list[str]:
        """Return the patient of each row of a split."""
        return [str(subject) for subject in self.data.table(split)["subject_id"]]

    def texts(self, split: str) -> list[str]:
        """Return the caption of each row of a split."""
        return [str(text) for text in self.data.table(split)["text"]]

    @property
    def contents(self) -> list[str]:
        """Digest of each training image."""
        return [str(content) for content in self.data.table("train")["content"]]

    @cached_property
    def training(self) -> Tensor:
        """Features of training images, with shape `(m, D)`."""
        return split_features(self.data, "train", self.encoder)

    @cached_property
    def heldout(self) -> Tensor:
        """Features of held-out images, with shape `(k, D)`."""
        return split_features(self.data, self.heldout_split, self.encoder)

    @cached_property
    def copies(self) -> CopyFinder:
        """Finds the training image that a picture is most like a copy of."""
        return CopyFinder(split_features(self.data, "train", self.copy_encoder))

    @cached_property
    def heldout_finder(self) -> CopyFinder:
        """Does the same among held-out images."""
        return CopyFinder(split_features(self.data, self.heldout_split, self.copy_encoder))

    @cached_property
    def heldout_copies(self) -> Match:
        """The training image that each held-out image is most like a copy of, which it is not."""
        return self.match(self.heldout_finder.bank)

    def match(self, copy_features: Tensor) -> Match:
        """Find the training image that each picture is most like a copy of, once for the same pictures."""
        if copy_features not in self._matches:
            self._matches[copy_features] = self.copies.match(copy_features)
        return self._matches[copy_features]

    def match_own(self, copy_features: Tensor, subjects: Sequence[str]) -> Match:
        """Find, for each picture, the held-out image of one patient that it is most like a copy of.

        Args:
            copy_features: Features of pictures, with shape `(n, E)`.
            subjects: Patient of each, who has held-out images.
        """
        if copy_features not in self._own_matches:
            patients = np.asarray(self.subjects(self.heldout_split))
            own = torch.from_numpy(np.asarray(subjects)[:, None] == patients[None])
            self._own_matches[copy_features] = self.heldout_finder.match(copy_features, own)
        return self._own_matches[copy_features]

    @cached_property
    def near_copies(self) -> list[int]:
        """Rows of held-out images that are copies of training images, which leaves them out of every threshold.

        From the middle of the ordered agreements upwards, the first one that stands far beyond all below it begins
        them: up to a half of the held-out images may be copies, and one does not hide another.
        """
        order = np.argsort(self.heldout_copies.similarity.numpy(), kind="stable")
        ordered = rarity(self.heldout_copies.similarity.numpy()[order])
        for i in range((len(ordered) + 1) // 2, len(ordered)):
            if len(ordered) * p_beyond(ordered[i : i + 1], ordered[:i])[0] < NEAR_COPY:
                return sorted(order[i:].tolist())
        return []

    @cached_property
    def no_copies(self) -> np.ndarray:
        """How much held-out images agree with training images they are no copy of, one value per patient."""
        kept = np.setdiff1d(np.arange(len(self.heldout_copies.row)), self.near_copies)
        subjects = np.asarray(self.subjects(self.heldout_split))[kept]
        return by_patient(self.heldout_copies.similarity.numpy()[kept], list(subjects), largest=True)[1]

    def calibration(self) -> Tensor:
        """Return the copy similarity of a random half of the held-out patients, which sets the threshold."""
        return self.heldout_copies.similarity[self._calibration_rows]

    def copy_threshold(self, alpha: float) -> tuple[float, float]:
        """Return the similarity above which an image counts as a copy, and the share of false alarms it stands for.

        With k calibration images no threshold is exceeded more rarely than 1 / (k + 1), so alpha is raised to that.
        """
        calibration = self.calibration()
        possible = max(alpha, 1 / (len(calibration) + 1))
        return replication_threshold(calibration, possible), possible

    def calibration_subjects(self) -> list[str]:
        """Return the patient of each calibration image."""
        subjects = self.subjects(self.heldout_split)
        return [subjects[int(row)] for row in self._calibration_rows]

    def prompts(self, split: str, count: int) -> Quota:
        """Choose rows whose captions are drawn; in training, images that are repeated on purpose come first.

        Rows are used again, with other seeds, where there are fewer than asked for.
        """
        num_rows = len(self.data.table(split))
        rng = np.random.default_rng(derive_seed(self.seed, "prompts", split))
        order = rng.permutation(num_rows).tolist()
        if split == "train":
            repeated = set(self.data.memorized_rows().tolist())
            order.sort(key=lambda row: row not in repeated)
        rows = [order[i % num_rows] for i in range(count)]
        return Quota(rows, [derive_seed(self.seed, "picture", split, rows[i], i // num_rows) for i in range(count)])

    def probes(self, split: str, count: int) -> Quota:
        """Choose rows whose losses are compared."""
        num_rows = len(self.data.table(split))
        rng = np.random.default_rng(derive_seed(self.seed, "probes", split))
        rows = sorted(rng.permutation(num_rows)[: count or num_rows].tolist())
        contents = self.data.table(split)["content"]
        return Quota(rows, [derive_seed(self.seed, "probe", str(contents.iat[row])) for row in rows])

    def latents(self, split: str, rows: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return samples of a split: latents or pixels, and text states where they are cached."""
        dataset = self.data.datasets[split]
        return [dataset.plain(row) for row in rows]

    @property
    def _calibration_rows(self) -> Tensor:
        """Rows of a random half of the held-out patients, without near copies of training images."""
        subjects = np.asarray(self.subjects(self.heldout_split))
        names = np.unique(subjects)
        chosen = np.random.default_rng(derive_seed(self.seed, "calibration")).permutation(names)[: len(names) // 2]
        rows = np.flatnonzero(np.isin(subjects, chosen))
        return torch.from_numpy(np.setdiff1d(rows, self.near_copies))
