"""Does the model treat images that it was trained on otherwise than held-out ones?"""

from __future__ import annotations

from abc import ABC

from memcontrol.measures.aggregators import GroupAUC, TPRAtFPR, Values
from memcontrol.measures.measure import Measure, Scene, register
from memcontrol.measures.needs import Evidence
from memcontrol.measures.probes import LossProbe, PIAProbe, Probe, SecMIProbe

__all__ = ["PIAAUC", "TPR01", "TPR1", "LossAUC", "MembershipMeasure", "SecMIAUC"]


class MembershipMeasure(Measure, ABC):
    """Compares a probe that is lower for members on training and on held-out images."""

    group = "memorization"
    higher_is_better = False

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return the scores of both sides, higher for members."""
        inside, outside = (evidence[need] for need in self.needs)
        return Values(-inside.scores, inside.subjects, -outside.scores, outside.subjects)


def _both(probe: type[Probe]) -> tuple[Probe, Probe]:
    return probe("train"), probe("heldout")


class LossAUC(MembershipMeasure):
    """AUC of the denoising loss."""

    name = "membership_auc"
    needs = _both(LossProbe)
    aggregator = GroupAUC()
    words = "the denoising loss tells training images from held-out ones (AUC; 0.5 is chance)"
    leak = "its denoising loss tells training images from held-out ones"
    column = 80


class SecMIAUC(MembershipMeasure):
    """AUC of SecMI."""

    name = "membership_auc_secmi"
    needs = _both(SecMIProbe)
    aggregator = GroupAUC()
    words = "the SecMI attack tells training images from held-out ones (AUC)"
    leak = "the SecMI attack tells training images from held-out ones"
    column = 81
    is_attack = True


class PIAAUC(MembershipMeasure):
    """AUC of PIA."""

    name = "membership_auc_pia"
    needs = _both(PIAProbe)
    aggregator = GroupAUC()
    words = "the PIA attack tells training images from held-out ones (AUC)"
    leak = "the PIA attack tells training images from held-out ones"
    column = 82
    is_attack = True


class TPR1(MembershipMeasure):
    """Members found at 1 % false alarms by the denoising loss."""

    name = "membership_tpr_1"
    needs = _both(LossProbe)
    aggregator = TPRAtFPR(0.01)
    words = "share of training images that the denoising loss gives away at 1 % false alarms"
    leak = "it gives away more members than chance at 1 % false alarms"


class TPR01(MembershipMeasure):
    """Members found at 0.1 % false alarms by the denoising loss."""

    name = "membership_tpr_01"
    needs = _both(LossProbe)
    aggregator = TPRAtFPR(0.001)
    words = "the same at 0.1 % false alarms"
    leak = "it gives away more members than chance at 0.1 % false alarms"


for _measure in (LossAUC(), SecMIAUC(), PIAAUC(), TPR1(), TPR01()):
    register(_measure)
