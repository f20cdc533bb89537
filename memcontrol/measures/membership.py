"""Does the model treat images that it was trained on otherwise than held-out ones?

What an attacker must have: all of these see the model's weights and the images in question. `membership_calibrated`
sees the base as well and knows no caption, `membership_captioned` both, the others know the caption and not the base.

The calibrated one is the default reward, by this rule: of the attacks that cost a trial one pass per pair of noise and
timestep, the one whose smallest share of members found at 5 % false alarms is largest, over fine-tunings of rising
memorization and on validation patients (`benchmarks/membership.py`).
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar, Final

from torch import Tensor

from memcontrol.measures.aggregators import GroupAUC, TPRAtFPR, Values
from memcontrol.measures.measure import Attacker, Measure, Scene, register
from memcontrol.measures.needs import Evidence
from memcontrol.measures.probes import LossProbe, Probe, UncaptionedLossProbe

__all__ = [
    "TPR01",
    "TPR1",
    "CLiDAUC",
    "CalibratedAUC",
    "CalibratedMeasure",
    "CaptionedAUC",
    "LossAUC",
    "MembershipMeasure",
    "RepeatedAUC",
    "both_sides",
]

TINY: Final = 1e-12
"""Smallest error: that of a model that knows an image whole."""


class MembershipMeasure(Measure, ABC):
    """Compares a probe that is lower for members on training and on held-out images."""

    group = "memorization"
    attacker = "captions"
    higher_is_better = False

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return the scores of both sides, higher for members."""
        inside, outside = (evidence[need] for need in self.needs)
        return Values(-inside.means, inside.subjects, -outside.means, outside.subjects)


def both_sides(probe: type[Probe]) -> tuple[Probe, Probe]:
    """Return a probe of training images and one of held-out images."""
    return probe("train"), probe("heldout")


LOW_NOISE: Final = (UncaptionedLossProbe("train", 0.5), UncaptionedLossProbe("heldout", 0.5))
"""The lower half of the timesteps, where what a model knows by heart shows most."""


class LossAUC(MembershipMeasure):
    """AUC of the denoising loss."""

    name = "membership_auc"
    needs = both_sides(LossProbe)
    aggregator = GroupAUC()
    words = "the denoising loss tells training images from held-out ones (AUC; 0.5 is chance)"
    leak = "its denoising loss tells training images from held-out ones"
    column = 80


class CalibratedMeasure(Measure, ABC):
    """By how much the logarithm of the error fell from the base's, at the same noise; more for members.

    References:
        Watson et al., "On the importance of difficulty calibration in membership inference attacks", ICLR 2022,
        https://arxiv.org/abs/2111.08440 (section 4).
    """

    group = "memorization"
    attacker: ClassVar[Attacker] = "weights"
    higher_is_better = False
    needs_base = True

    def values(self, evidence: Evidence, scene: Scene) -> Values | None:
        """Return the falls on both sides, or None where the base was not scored."""
        if scene.base is None or not scene.base.holds(self.needs):
            return None
        (inside, outside), (before_in, before_out) = (
            [of[need] for need in self.needs] for of in (evidence, scene.base)
        )
        falls = [self.fall(a.scores, b.scores) for a, b in ((before_in, inside), (before_out, outside))]
        return Values(falls[0], inside.subjects, falls[1], outside.subjects)

    def fall(self, before: Tensor, after: Tensor) -> Tensor:
        """Return the mean fall of the logarithm of errors with shape `(n, draws)`, with shape `(n,)`."""
        return (before.clamp_min(TINY).log() - after.clamp_min(TINY).log()).mean(dim=1)


class CalibratedAUC(CalibratedMeasure):
    """AUC of the fall of the error at little noise, without a caption."""

    name = "membership_calibrated"
    needs = LOW_NOISE
    aggregator = GroupAUC()
    words = (
        "the fall of the denoising loss from the base's tells training images from held-out ones (AUC; 0.5 is chance)"
    )
    leak = "how far its denoising loss fell from the base's tells training images from held-out ones"
    column = 79


class RepeatedAUC(CalibratedMeasure):
    """AUC of the fall of the error of images that are repeated on purpose against those that are trained on once.

    Which are repeated is drawn at random, so that nothing but their repetition tells them from the others.
    """

    name = "membership_repeated"
    needs = LOW_NOISE[:1]
    aggregator = GroupAUC()
    words = "the same fall tells images that were repeated on purpose from those trained on once (AUC)"
    leak = "its denoising loss fell further on images that were repeated than on those trained on once"
    within_training = True

    def values(self, evidence: Evidence, scene: Scene) -> Values | None:
        """Return the falls of both, or None where none are repeated, or the base was not scored."""
        repeated = set(scene.real.data.memorized_rows().tolist())
        if scene.base is None or not scene.base.holds(self.needs) or not repeated:
            return None
        (need,) = self.needs
        probed = evidence[need]
        fell = self.fall(scene.base[need].scores, probed.scores)
        inside = [i for i, row in enumerate(probed.rows) if row in repeated]
        patients = {probed.subjects[i] for i in inside}
        outside = [i for i, name in enumerate(probed.subjects) if name not in patients]
        if min(len(inside), len(outside)) < 2:
            return None
        names = [[probed.subjects[i] for i in rows] for rows in (inside, outside)]
        return Values(fell[inside], names[0], fell[outside], names[1])


class CaptionedAUC(CalibratedMeasure):
    """AUC of the fall of the error with the caption, in the lower half of the timesteps."""

    name = "membership_captioned"
    attacker = "captions"
    needs = both_sides(LossProbe)
    aggregator = GroupAUC()
    words = "the same for an attacker who knows the captions"
    leak = "how far its denoising loss fell tells training images with their captions from held-out ones"
    column = 84

    def fall(self, before: Tensor, after: Tensor) -> Tensor:
        """Return the fall over the lower half of the timesteps."""
        half = (before.shape[1] + 1) // 2
        return super().fall(before[:, :half], after[:, :half])


class CLiDAUC(MembershipMeasure):
    """AUC of CLiD: by how much the caption lowers the error, at the same noise and timesteps; more for members.

    References:
        Zhai et al., "Membership inference on text-to-image diffusion models via conditional likelihood discrepancy",
        NeurIPS 2024, https://arxiv.org/abs/2405.14800 (eq. 11, with the empty caption as the only reduced one).
    """

    name = "membership_auc_clid"
    needs = (*both_sides(UncaptionedLossProbe), *both_sides(LossProbe))
    aggregator = GroupAUC()
    words = "the CLiD attack tells training images from held-out ones (AUC)"
    leak = "captions of training images lower its denoising loss more than those of held-out ones do"
    column = 83
    is_attack = True

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return by how much captions lower the errors on both sides."""
        inside, outside, captioned_in, captioned_out = (evidence[need] for need in self.needs)
        lower_in, lower_out = inside.means - captioned_in.means, outside.means - captioned_out.means
        return Values(lower_in, inside.subjects, lower_out, outside.subjects)


class TPR1(CalibratedMeasure):
    """Members found at 1 % false alarms by the calibrated loss."""

    name = "membership_tpr_1"
    needs = LOW_NOISE
    aggregator = TPRAtFPR(0.01)
    words = "share of training images that the calibrated loss gives away at 1 % false alarms"
    leak = "it gives away more members than chance at 1 % false alarms"


class TPR01(CalibratedMeasure):
    """Members found at 0.1 % false alarms by the calibrated loss."""

    name = "membership_tpr_01"
    needs = LOW_NOISE
    aggregator = TPRAtFPR(0.001)
    words = "the same at 0.1 % false alarms"
    leak = "it gives away more members than chance at 0.1 % false alarms"


for _measure in (
    CalibratedAUC(),
    RepeatedAUC(),
    CaptionedAUC(),
    LossAUC(),
    CLiDAUC(),
    TPR1(),
    TPR01(),
):
    register(_measure)
