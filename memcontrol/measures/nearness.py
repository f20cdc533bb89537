"""Does what the model samples for training prompts lie too near to training images?

Replication is tested against the base, held-out patients, and what the same model samples for held-out prompts.
Own-prompt retrieval (which must beat the base too), AMD and authenticity are tested against the last alone. The images
of a held-out prompt's patient join the training images (see `outside`): a model that learns a hospital's look comes
nearer to all its patients than the base was, and one that follows captions nearer to the patient of the caption;
neither is a leak.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from memcontrol.measures.aggregators import (
    AboveBase,
    AboveOutside,
    Aggregator,
    Figure,
    PatientMean,
    RankZ,
    Test,
    Values,
)
from memcontrol.measures.copies import rarity
from memcontrol.measures.functional.frechet import informed_distance
from memcontrol.measures.functional.memorization import authentic, minimal_distances, own_prompt_hits
from memcontrol.measures.functional.neighbours import nearest
from memcontrol.measures.measure import Measure, Scene, register
from memcontrol.measures.needs import Evidence
from memcontrol.measures.real import NEAR_COPY, RealImages
from memcontrol.measures.samples import Sampled, Samples
from memcontrol.measures.statistics.pvalues import p_exceed, rank_of
from memcontrol.measures.statistics.tails import p_beyond

__all__ = ["AMD", "CT", "MIFID", "Authenticity", "OwnPrompt", "Replication", "controls"]

ALPHA: Final = 0.01
"""Share of pictures for held-out prompts that lie above their own threshold."""


class ExceedsHeldout(Test):
    """Do more patients exceed the threshold of copies than held-out ones would? `raw`, `outside` are similarities."""

    words = "held-out patients"

    def p(self, ours: Values, base: Values | None, worse: int, seed: int) -> float | None:
        """Return the exact p-value, see `p_exceed`."""
        assert ours.raw is not None
        assert ours.outside is not None
        return p_exceed(ours.raw, ours.patients, ours.outside, ours.outside_patients, ours.rank)


class ExceedsOtherPrompts(Test):
    """Do more patients exceed the threshold that the model's own pictures for held-out prompts set?

    A model that draws the same typical image again and again comes near to some training image with every prompt.
    """

    words = "what the same model draws for held-out prompts"

    def p(self, ours: Values, base: Values | None, worse: int, seed: int) -> float | None:
        """Return the exact p-value, see `p_exceed`, or None without such pictures."""
        if ours.raw is None or ours.control is None or not len(ours.control):
            return None
        rank = rank_of(ALPHA, len(set(ours.control_patients)))
        return p_exceed(ours.raw, ours.patients, ours.control, ours.control_patients, rank)


class _Nearness(Measure, ABC):
    """A measure of pictures for training prompts; pictures for held-out prompts are the control, if there are any."""

    group = "memorization"
    attacker = "pictures"
    needs = (Samples("train"),)
    aggregator: ClassVar[Aggregator] = PatientMean((AboveOutside(),))

    def values(self, evidence: Evidence, scene: Scene) -> Values | None:
        """Return the values for training prompts and, as if their patients were trained on, for held-out ones."""
        sampled, outside = evidence[Samples("train")], evidence.get(Samples("heldout"))
        if outside is None:
            return Values(self.inside(sampled, scene), sampled.subjects)
        control = self.outside(outside, scene)
        return Values(self.inside(sampled, scene), sampled.subjects, control, outside.subjects)

    @abstractmethod
    def inside(self, sampled: Sampled, scene: Scene) -> Tensor:
        """Return the value of each picture for a training prompt, with shape `(n,)`."""

    @abstractmethod
    def outside(self, sampled: Sampled, scene: Scene) -> Tensor:
        """Return what pictures for held-out prompts would get if the prompt's patient were in the training split.

        A training prompt's own picture, and its patient's others, are among the training images; a model that only
        follows captions comes near to them. A held-out prompt gets the same chance: its patient's images join the
        training images.
        """


class OwnPrompt(_Nearness):
    """Own-prompt retrieval: is the nearest training image the one that the prompt belongs to?"""

    name = "own_prompt"
    higher_is_better = False
    aggregator = PatientMean((AboveOutside(), AboveBase()))
    words = "the nearest training image is the prompt's own"
    leak = "what it draws for a training prompt is nearest to that prompt's own image"
    column = 60

    def values(self, evidence: Evidence, scene: Scene) -> Values | None:
        """Return nothing for pictures whose prompts are no training captions."""
        return None if min(evidence[Samples("train")].rows) < 0 else super().values(evidence, scene)

    def inside(self, sampled: Sampled, scene: Scene) -> Tensor:
        """Return hits."""
        return own_prompt_hits(
            scene.real.match(sampled.copy_features).row, torch.tensor(sampled.rows), scene.real.contents
        )

    def outside(self, sampled: Sampled, scene: Scene) -> Tensor:
        """Return hits if the prompt's patient were trained on."""
        real = scene.real
        similarity, row = real.match_own(sampled.copy_features, sampled.subjects)
        contents = np.asarray([str(content) for content in real.data.table(real.heldout_split)["content"]])
        own = torch.from_numpy(contents[row.numpy()] == contents[np.asarray(sampled.rows)])
        return (own & (similarity > scene.real.match(sampled.copy_features).similarity)).double()


class Replication(Measure):
    """Calibrated replication: share of pictures that are nearer to a training image than held-out patients come."""

    name = "replication"
    group = "memorization"
    attacker = "pictures"
    higher_is_better = False
    needs = (Samples("train"),)
    aggregator = PatientMean((ExceedsHeldout(), ExceedsOtherPrompts(), AboveBase()))
    words = "drawn pictures are copies of training images"
    leak = "it draws copies of training images"
    column = 50

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return which pictures are copies, and the similarities that this comes from."""
        sampled, real = evidence[Samples("train")], scene.real
        threshold, _ = real.copy_threshold(scene.options.alpha)
        similarity = scene.real.match(sampled.copy_features).similarity
        calibration, patients = real.calibration(), real.calibration_subjects()
        rank = rank_of(scene.options.alpha, len(set(patients)))
        others = evidence.get(Samples("heldout"))
        control, names = controls(others, real) if others is not None else (None, [])
        copies = (similarity > threshold).double()
        return Values(copies, sampled.subjects, calibration, patients, similarity, rank, control, names)

    def note(self, ours: Values, scene: Scene, note: str) -> str:
        """Add how many held-out images would count."""
        _, share = scene.real.copy_threshold(scene.options.alpha)
        return f"{note}; of held-out images {100 * share:.2g} % would count as copies"


class AMD(_Nearness):
    """Average minimal distance to training images (Dutt et al., WACV 2025)."""

    name = "amd"
    higher_is_better = True
    words = "distance to the nearest training image"
    leak = "what it draws for training prompts lies nearer to training images than for held-out prompts"
    column = 40

    def inside(self, sampled: Sampled, scene: Scene) -> Tensor:
        """Return distances."""
        return minimal_distances(sampled.features, scene.real.training)

    def outside(self, sampled: Sampled, scene: Scene) -> Tensor:
        """Return distances if the prompt's patient were trained on."""
        own, _ = _own_distance(sampled, scene)
        return torch.minimum(minimal_distances(sampled.features, scene.real.training), own)


class Authenticity(_Nearness):
    """Share of pictures farther from their training neighbour than it is from its own (Alaa et al., ICML 2022)."""

    name = "authenticity"
    higher_is_better = True
    words = "pictures farther from their training neighbour than that one is from its own"
    leak = "what it draws for training prompts hugs training images more than for held-out prompts"

    def inside(self, sampled: Sampled, scene: Scene) -> Tensor:
        """Return which pictures are authentic."""
        return authentic(sampled.features, scene.real.training)

    def outside(self, sampled: Sampled, scene: Scene) -> Tensor:
        """Return which would be if the prompt's patient were trained on."""
        real = scene.real
        own, row = _own_distance(sampled, scene)
        theirs = 1 - nearest(real.heldout[row], real.training)[0]
        distances = minimal_distances(sampled.features, real.training)
        return torch.where(own < distances, (own > theirs).double(), authentic(sampled.features, real.training))


class CT(Measure):
    """The rank test of pictures against held-out images by distance to training images (Meehan et al., 2020)."""

    name = "c_t"
    group = "memorization"
    attacker = "pictures"
    higher_is_better = True
    needs = (Samples("train"),)
    aggregator = RankZ()
    words = "the same as a z score against held-out images"

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return the distances of pictures and of held-out images."""
        sampled, real = evidence[Samples("train")], scene.real
        held = minimal_distances(real.heldout, real.training)
        subjects = real.subjects(real.heldout_split)
        return Values(minimal_distances(sampled.features, real.training), sampled.subjects, held, subjects)

    def note(self, ours: Values, scene: Scene, note: str) -> str:
        """Say how to read it."""
        return "a z score: below 0 is nearer than real images are"


class MIFID(Measure):
    """FID, divided by the mean distance to training images where that is small (Bai et al., 2021)."""

    name = "mifid"
    group = "memorization"
    attacker = "pictures"
    higher_is_better = False
    needs = (Samples("train"),)
    aggregator = Figure(
        lambda v: informed_distance(v.inside, v.outside, v.raw),  # type: ignore[arg-type]
        note="no interval: a ratio with a threshold",
    )
    words = "FID over the distance to training images"

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return features, and the distances of the pictures."""
        sampled, real = evidence[Samples("train")], scene.real
        distances = minimal_distances(sampled.features, real.training)
        subjects = real.subjects(real.heldout_split)
        return Values(sampled.features, sampled.subjects, real.heldout, subjects, distances)


def controls(sampled: Sampled, real: RealImages) -> tuple[Tensor, list[str]]:
    """Return how much pictures for held-out prompts agree with training images and those of the prompt's patient.

    Those that agree far more than any held-out image does are left out: a model that knows images by heart may draw
    them for other prompts as well, and is not excused by that.

    Returns:
        Agreement in [-1, 1], with shape `(n,)`, and the patients of the prompts.
    """
    own = real.match_own(sampled.copy_features, sampled.subjects).similarity
    found = torch.maximum(own, real.match(sampled.copy_features).similarity)
    kept = np.flatnonzero(len(found) * p_beyond(rarity(found), rarity(real.no_copies)) >= NEAR_COPY)
    return found[torch.from_numpy(kept)], [sampled.subjects[row] for row in kept]


def _own_distance(sampled: Sampled, scene: Scene) -> tuple[Tensor, Tensor]:
    """Return the distance to the nearest image of each prompt's own patient, and its row."""

    def find() -> tuple[Tensor, Tensor]:
        similarity, row = _of_the_same_patient(sampled, scene)
        return 1 - similarity, row

    return scene.shared(("own distance", id(sampled)), find)


def _of_the_same_patient(sampled: Sampled, scene: Scene) -> tuple[Tensor, Tensor]:
    """Find the nearest held-out image of each prompt's own patient."""
    subjects = np.asarray(scene.real.subjects(scene.real.heldout_split))
    best, rows = [], []
    for query, subject in zip(normalize(sampled.features.float(), dim=1), sampled.subjects, strict=True):
        of_patient = torch.from_numpy(np.flatnonzero(subjects == subject))
        similarity = normalize(scene.real.heldout[of_patient].float(), dim=1) @ query
        found = int(similarity.argmax())
        best.append(similarity[found])
        rows.append(of_patient[found])
    return torch.stack(best).clamp(max=1.0), torch.stack(rows)


for _measure in (OwnPrompt(), Replication(), AMD(), Authenticity(), CT(), MIFID()):
    register(_measure)
