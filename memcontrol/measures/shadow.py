"""Does a model treat its patients as shadow models do that were trained on them, or as those that were not?"""

from __future__ import annotations

import numpy as np
import torch

from memcontrol.measures.aggregators import GroupAUC, Values
from memcontrol.measures.functional.lira import likelihood_ratios
from memcontrol.measures.measure import Measure, Scene, register
from memcontrol.measures.membership import LOW_NOISE, TINY
from memcontrol.measures.needs import Evidence
from memcontrol.measures.probes import Probed

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
        """Return the likelihood ratios of both sides, or None where there are no shadow models.

        Images that all shadow models were trained on, or none, are left out.
        """
        if not scene.shadows:
            return None
        scores = np.concatenate([_scores(evidence[need]) for need in self.needs])
        names = np.array([name for need in self.needs for name in evidence[need].subjects])
        shadows = [np.concatenate([_scores(shadow.evidence[need]) for need in self.needs]) for shadow in scene.shadows]
        members = np.array([[name in shadow.members for shadow in scene.shadows] for name in names])
        inside = members.sum(axis=1)
        kept = (inside > 0) & (inside < len(scene.shadows))
        # Both sides at once: what is estimated from one side alone would tell its images from the other's.
        ratios = torch.from_numpy(likelihood_ratios(scores[kept], np.stack(shadows, axis=1)[kept], members[kept]))
        trained = int(kept[: len(evidence[self.needs[0]].subjects)].sum())
        names = names[kept]
        return Values(ratios[:trained], names[:trained].tolist(), ratios[trained:], names[trained:].tolist())

    def note(self, ours: Values, scene: Scene, note: str) -> str:
        """Say how many shadow models there were."""
        return f"by {len(scene.shadows)} shadow models; {note}"


def _scores(probed: Probed) -> np.ndarray:
    return np.asarray(-probed.scores.double().clamp_min(TINY).log().mean(dim=1))


register(LiRAAUC())
