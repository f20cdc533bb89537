"""How strongly does the model react to a training prompt, and how well does it denoise held-out images?"""

from __future__ import annotations

from memcontrol.measures.aggregators import PatientMean, RiseAboveOutside, Values
from memcontrol.measures.measure import Measure, Scene, register
from memcontrol.measures.needs import Evidence
from memcontrol.measures.probes import LossProbe, NoiseNormProbe

__all__ = ["HeldoutLoss", "NoiseNorm"]


class NoiseNorm(Measure):
    """Text-conditional noise norm of training prompts (Wen et al., ICLR 2024)."""

    name = "noise_norm"
    group = "memorization"
    attacker = "captions"
    higher_is_better = False
    needs = (NoiseNormProbe("train"), NoiseNormProbe("heldout"))
    aggregator = PatientMean((RiseAboveOutside(),))
    words = "reaction to a training prompt"
    leak = "it reacts to training prompts more strongly than to held-out ones"
    column = 70

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return the norms of training and of held-out prompts."""
        inside, outside = evidence[NoiseNormProbe("train")], evidence[NoiseNormProbe("heldout")]
        return Values(inside.means, inside.subjects, outside.means, outside.subjects)


class HeldoutLoss(Measure):
    """Denoising loss of held-out images."""

    name = "heldout_loss"
    group = "quality"
    higher_is_better = False
    needs = (LossProbe("heldout"),)
    aggregator = PatientMean()
    words = "denoising loss of held-out patients' images"
    column = 30

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return the losses."""
        others = evidence[LossProbe("heldout")]
        return Values(others.means, others.subjects)


for _measure in (NoiseNorm(), HeldoutLoss()):
    register(_measure)
