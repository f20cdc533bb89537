"""Does the model treat images that it was trained on otherwise than held-out ones?"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from memcontrol.rewards.functional.intervals import auc_draws, from_draws, mean_interval
from memcontrol.rewards.functional.membership import tpr_draws
from memcontrol.scoring.evidence import Evidence
from memcontrol.scoring.measures.pvalues import p_draws, p_gap
from memcontrol.scoring.measures.record import Measure, subjects_of
from memcontrol.scoring.options import ScoringOptions
from memcontrol.scoring.real import RealImages

__all__ = ["membership_measures"]


def membership_measures(
    evidence: Evidence, real: RealImages, options: ScoringOptions, base: Evidence | None
) -> list[Measure]:
    """Compare scores of training images with those of held-out ones; needs probes in the evidence."""
    members, others = evidence.members, evidence.others
    if members is None or others is None:
        return []
    inside, outside = subjects_of(real, "train", members.rows), subjects_of(real, real.heldout, others.rows)
    found = []
    for name, score in (("membership_auc", "loss"), ("membership_auc_secmi", "secmi"), ("membership_auc_pia", "pia")):
        if score not in members.scores:
            continue
        found.append(_auc(name, -members.scores[score], -others.scores[score], inside, outside, options, base, score))
    for name, fpr in (("membership_tpr_1", 0.01), ("membership_tpr_01", 0.001)):
        found.append(_tpr(name, fpr, evidence, inside, outside, options, base))
    norms = members.scores["noise_norm"]
    value = mean_interval(norms, inside, seed=options.seed)
    null, p = None, None
    if base is not None and base.members is not None:
        theirs = base.members.scores["noise_norm"]
        null = mean_interval(theirs, inside, seed=options.seed)
        ours_other, theirs_other = others.scores["noise_norm"], base.others.scores["noise_norm"]  # type: ignore[union-attr]
        p = p_gap(norms - theirs, ours_other - theirs_other, inside, outside, options.seed)
    note = "null: the base; tested by its rise on training against held-out prompts" if null else "not tested: no base"
    found.append(Measure("noise_norm", "memorization", value, null, False, p, note))
    found.append(
        Measure(
            "heldout_loss",
            "quality",
            mean_interval(others.scores["loss"], outside, seed=options.seed),
            mean_interval(base.others.scores["loss"], outside, seed=options.seed)
            if base is not None and base.others is not None
            else None,
            False,
        )
    )
    return found


def _tpr(
    name: str,
    fpr: float,
    evidence: Evidence,
    inside: list[str],
    outside: list[str],
    options: ScoringOptions,
    base: Evidence | None,
) -> Measure:
    n = min(len(set(inside)), len(set(outside)))

    def drawn(of: Evidence | None) -> tuple[float, np.ndarray] | None:
        if of is None or of.members is None or of.others is None:
            return None
        scores = -of.members.scores["loss"].numpy(), -of.others.scores["loss"].numpy()
        return tpr_draws(*scores, inside, outside, fpr, seed=options.seed)

    ours, theirs = drawn(evidence), drawn(base)
    if ours is None:
        note = f"needs {10 / fpr:.0f} held-out images, has {len(outside)}"
        return Measure(name, "memorization", None, fpr, False, None, note)
    value = from_draws(*ours, n)
    if theirs is None:
        return Measure(name, "memorization", value, fpr, False, p_draws(ours[1] - fpr), "null: chance")
    p = p_draws(ours[1] - theirs[1])
    return Measure(name, "memorization", value, from_draws(*theirs, n), False, p, "null: the base, paired")


def _auc(
    name: str,
    members: Tensor,
    others: Tensor,
    inside: list[str],
    outside: list[str],
    options: ScoringOptions,
    base: Evidence | None,
    score: str,
) -> Measure:
    value, draws = auc_draws(members, others, inside, outside, seed=options.seed)
    n = min(len(set(inside)), len(set(outside)))
    if base is None or base.members is None or base.others is None:
        return Measure(
            name, "memorization", from_draws(value, draws, n), 0.5, False, p_draws(draws - 0.5), "null: chance"
        )
    theirs, base_draws = auc_draws(
        -base.members.scores[score], -base.others.scores[score], inside, outside, seed=options.seed
    )
    null = from_draws(theirs, base_draws, n)
    p = p_draws(draws - base_draws)
    return Measure(name, "memorization", from_draws(value, draws, n), null, False, p, "null: the base, paired")
