"""Does a model treat its patients as shadow models do that were trained on them, or as those that were not?"""

from __future__ import annotations

import numpy as np
import torch

from memcontrol.measures.aggregators import GroupAUC, Values
from memcontrol.measures.functional.lira import likelihood_ratios
from memcontrol.measures.measure import Measure, Scene, register
from memcontrol.measures.membership import LOW_NOISE, TINY
from memcontrol.measures.needs import Evidence
from memcontrol.measures.probes import Probe, Probed

__all__ = ["LiRAAUC"]


class LiRAAUC(Measure):
    """AUC of the likelihood ratio of an image's error at little noise, without a caption.

    References:
        Carlini et al., "Membership inference attacks from first principles", IEEE S&P 2022,
        https://arxiv.org/abs/2112.03570.
    """

    name = "membership_lira"
    group = "memorization"
    attacker = "shadows"
    higher_is_better = False
    needs = LOW_NOISE
    aggregator = GroupAUC()
    words = "the LiRA attack, with shadow models, tells training images from held-out ones (AUC)"
    leak = "shadow models tell its training images from held-out ones"
    column = 87
    is_attack = True
    is_reward = False

    def values(self, evidence: Evidence, scene: Scene) -> Values | None:
        """Return the likelihood ratios of both sides, or None where there are no shadow models."""
        if not scene.shadows:
            return None
        (inside, names), (outside, others) = (self._ratios(need, evidence, scene) for need in self.needs)
        return Values(inside, names, outside, others)

    def note(self, ours: Values, scene: Scene, note: str) -> str:
        """Say how many shadow models there were."""
        return f"by {len(scene.shadows)} shadow models; {note}"

    def _ratios(self, need: Probe, evidence: Evidence, scene: Scene) -> tuple[torch.Tensor, list[str]]:
        """Return the ratios of those images that some shadow models were trained on, and others not; and patients."""
        subjects = evidence[need].subjects
        shadows = np.stack([_scores(shadow.evidence[need]) for shadow in scene.shadows], axis=1)
        members = np.array([[name in shadow.members for shadow in scene.shadows] for name in subjects])
        kept = members.any(axis=1) & ~members.all(axis=1)
        ratios = likelihood_ratios(_scores(evidence[need])[kept], shadows[kept], members[kept])
        return torch.from_numpy(ratios), [subjects[row] for row in np.flatnonzero(kept)]


def _scores(probed: Probed) -> np.ndarray:
    return np.asarray(-probed.scores.double().clamp_min(TINY).log().mean(dim=1))


register(LiRAAUC())
