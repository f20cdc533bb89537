"""Attacks that do not know beforehand which timestep, layer or direction tells members: half of the patients say.

What an attack finds at a fixed timestep may point the wrong way on another model, or to nothing at all. So each image
has several scores, a linear discriminant is learnt on a random half of the patients of both sides, and what is reported
and tested are the other half's: patients that nothing was chosen by.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

import numpy as np
import torch

from memcontrol.measures.aggregators import GroupAUC, Values
from memcontrol.measures.functional.discriminant import discriminant_scores
from memcontrol.measures.measure import Attacker, Measure, Scene, register
from memcontrol.measures.membership import TINY, both_sides
from memcontrol.measures.needs import Evidence
from memcontrol.measures.probes import GradientProbe, PIAProbe, Probed, SecMIProbe, SimAProbe
from memcontrol.seeds import derive_seed

__all__ = ["PIAAUC", "FittedMeasure", "GradientAUC", "SecMIAUC", "SimAAUC"]

FEWEST: Final = 4
"""Patients of each side that something can be learnt on."""


class FittedMeasure(Measure, ABC):
    """AUC of a discriminant of several scores of an image, on those patients that it was not learnt on."""

    group = "memorization"
    attacker: ClassVar[Attacker] = "captions"
    higher_is_better = False
    aggregator = GroupAUC()
    is_attack = True

    @abstractmethod
    def features(self, evidence: Evidence, scene: Scene) -> tuple[np.ndarray, np.ndarray] | None:
        """Return what images of both sides are told by, with shapes `(n, D)` and `(m, D)`, or None."""

    def values(self, evidence: Evidence, scene: Scene) -> Values | None:
        """Return the scores of those patients that nothing was learnt on, or None where there are too few."""
        found = self.features(evidence, scene)
        if found is None:
            return None
        sides = [
            _halved(features, evidence[need].subjects, derive_seed(scene.options.seed, "learnt on", side))
            for features, need, side in zip(found, self.needs, ("train", "heldout"), strict=True)
        ]
        if min(side.learnt_patients for side in sides) < FEWEST:
            return None
        inside, outside = sides
        scores = discriminant_scores(inside.learnt, outside.learnt, inside.tested, outside.tested)
        ours, theirs = map(torch.from_numpy, scores)
        return Values(ours, inside.patients, theirs, outside.patients)

    def note(self, ours: Values, scene: Scene, note: str) -> str:
        """Say on whom it was learnt."""
        return f"learnt on half of the patients, tested on the others; {note}"


class _Halved(NamedTuple):
    """Features of one side, of patients that are learnt on and of those that are tested."""

    learnt: np.ndarray
    learnt_patients: int
    tested: np.ndarray
    patients: list[str]
    """Patient of each tested image."""


def _halved(features: np.ndarray, names: Sequence[str], seed: int) -> _Halved:
    unique = np.unique(names)
    chosen = np.random.default_rng(seed).permutation(unique)[: len(unique) // 2]
    is_learnt = np.isin(names, chosen)
    return _Halved(features[is_learnt], len(chosen), features[~is_learnt], np.asarray(names)[~is_learnt].tolist())


def _logs(probed: Probed) -> np.ndarray:
    return np.asarray(probed.scores.double().clamp_min(TINY).log())


class ProbeAUC(FittedMeasure):
    """A discriminant of the logarithms of a probe at several timesteps."""

    def features(self, evidence: Evidence, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        """Return the logarithms."""
        inside, outside = (_logs(evidence[need]) for need in self.needs)
        return inside, outside


class SecMIAUC(ProbeAUC):
    """AUC of SecMI at several timesteps."""

    name = "membership_auc_secmi"
    needs = both_sides(SecMIProbe)
    words = "the SecMI attack tells training images from held-out ones (AUC)"
    leak = "the SecMI attack tells training images from held-out ones"
    column = 81


class PIAAUC(ProbeAUC):
    """AUC of PIA at several timesteps."""

    name = "membership_auc_pia"
    needs = both_sides(PIAProbe)
    words = "the PIA attack tells training images from held-out ones (AUC)"
    leak = "the PIA attack tells training images from held-out ones"
    column = 82


class SimAAUC(ProbeAUC):
    """AUC of SimA at several timesteps."""

    name = "membership_auc_sima"
    needs = both_sides(SimAProbe)
    words = "the SimA attack tells training images from held-out ones (AUC)"
    leak = "the SimA attack tells training images from held-out ones"
    column = 85


class GradientAUC(FittedMeasure):
    """AUC of the fall of the loss's gradient by block of the U-Net from the base's, at the same noise.

    References:
        Pang et al., "White-box membership inference attacks against diffusion models", PoPETs 2025,
        https://arxiv.org/abs/2308.06405 (GSA1, with half of the patients in place of shadow models, and calibrated).
    """

    name = "membership_auc_gsa"
    attacker = "weights"
    needs = both_sides(GradientProbe)
    words = "gradients of the loss tell training images from held-out ones (AUC)"
    leak = "gradients of its loss tell training images from held-out ones"
    column = 86
    needs_base = True

    def features(self, evidence: Evidence, scene: Scene) -> tuple[np.ndarray, np.ndarray] | None:
        """Return by how much the logarithms fell, or None where the base was not scored."""
        if scene.base is None or not scene.base.holds(self.needs):
            return None
        inside, outside = (_logs(scene.base[need]) - _logs(evidence[need]) for need in self.needs)
        return inside, outside


for _measure in (SecMIAUC(), PIAAUC(), SimAAUC(), GradientAUC()):
    register(_measure)
