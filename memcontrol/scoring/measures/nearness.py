"""Does what the model draws for training prompts lie too near to training images?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from memcontrol.rewards.functional.frechet import mifid
from memcontrol.rewards.functional.intervals import Interval, mean_interval
from memcontrol.rewards.functional.memorization import (
    authentic,
    c_t,
    minimal_distances,
    own_prompt_hits,
)
from memcontrol.scoring.evidence import Drawn, Evidence
from memcontrol.scoring.measures.pvalues import p_exceed, p_gap, p_mean, rank_of
from memcontrol.scoring.measures.record import HIGHER_IS_BETTER, Measure
from memcontrol.scoring.measures.symmetric import outside_values
from memcontrol.scoring.options import ScoringOptions
from memcontrol.scoring.real import RealImages

__all__ = ["nearness_functions", "nearness_measures"]


@dataclass(frozen=True)
class _Sides:
    """The same statistic, image by image, of what is compared."""

    ours: Tensor
    base: Tensor | None
    heldout: Tensor | None


def nearness_functions(real: RealImages, options: ScoringOptions) -> dict[str, Callable[[Drawn], Tensor]]:
    """Return, by name, what gives each drawn image a value; the measures are their means."""
    threshold, _ = real.copy_threshold(options.alpha)
    return {
        "own_prompt": lambda d: own_prompt_hits(real.match(d.thumbnails).row, torch.tensor(d.rows), real.contents),
        "replication": lambda d: (real.match(d.thumbnails).similarity > threshold).double(),
        "amd": lambda d: minimal_distances(d.features, real.training),
        "authenticity": lambda d: authentic(d.features, real.training),
    }


def nearness_measures(
    evidence: Evidence, drawn: Drawn, real: RealImages, options: ScoringOptions, base: Evidence | None
) -> list[Measure]:
    """Measure nearness to training images.

    Replication is tested against the base and held-out patients. Own-prompt retrieval (which must beat the base too),
    AMD and authenticity are tested against what the same model draws for held-out prompts, whose patients' images then
    join the training images: a model that learns a hospital's look comes nearer to all its patients than the base was,
    and one that follows captions nearer to the patient of the caption; neither is a leak.
    """
    theirs = base.train if base is not None else None
    functions = nearness_functions(real, options)
    if min(drawn.rows) < 0:
        del functions["own_prompt"]
    found = []
    for name, function in functions.items():
        outside = evidence.heldout if name != "replication" else None
        sides = _Sides(
            function(drawn),
            function(theirs) if theirs is not None else None,
            outside_values(name, outside, real) if outside is not None else None,
        )
        found.append(_tested(name, sides, evidence, drawn, real, options))
    return [*found, _copying(drawn, theirs, real), _mifid(drawn, theirs, real)]


def _tested(
    name: str, sides: _Sides, evidence: Evidence, drawn: Drawn, real: RealImages, options: ScoringOptions
) -> Measure:
    subjects, seed = drawn.subjects, options.seed
    value = mean_interval(sides.ours, subjects, seed=seed)
    null = mean_interval(sides.base, subjects, seed=seed) if sides.base is not None else None
    p, note = None, "not tested: there is nothing to compare with"
    if name in ("own_prompt", "replication") and sides.base is not None:
        p, note = p_mean(sides.ours - sides.base, subjects, seed), "null: the base on the same prompts and seeds"
    if name == "replication":
        similarity = real.match(drawn.thumbnails).similarity
        calibration, patients = real.calibration(), real.calibration_subjects()
        exact = p_exceed(similarity, subjects, calibration, patients, rank_of(options.alpha, len(set(patients))))
        p = exact if p is None else max(p, exact)
        note = "tested against held-out patients" + (" and the base" if null is not None else "")
        note += f"; of held-out images {100 * real.copy_threshold(options.alpha)[1]:.2g} % would count as copies"
    elif sides.heldout is not None and evidence.heldout is not None:
        outside = evidence.heldout.subjects
        sign = -1 if HIGHER_IS_BETTER[name] else 1
        gap = p_gap(sign * sides.ours, sign * sides.heldout, subjects, outside, seed)
        p = gap if p is None else max(p, gap)
        note = "tested against what the same model draws for held-out prompts"
        note += " and the base" if name == "own_prompt" and sides.base is not None else ""
        null = null or mean_interval(sides.heldout, outside, seed=seed)
    return Measure(name, "memorization", value, null, HIGHER_IS_BETTER[name], p, note)


def _copying(drawn: Drawn, theirs: Drawn | None, real: RealImages) -> Measure:
    score = c_t(drawn.features, real.held, real.training)
    null = c_t(theirs.features, real.held, real.training) if theirs is not None else 0.0
    value = Interval(score, score - 1.96, score + 1.96, len(set(real.subjects(real.heldout))))
    return Measure("c_t", "memorization", value, null, True, None, "a z score: below 0 is nearer than real images are")


def _mifid(drawn: Drawn, theirs: Drawn | None, real: RealImages) -> Measure:
    score = mifid(drawn.features, real.held, real.training)
    null = mifid(theirs.features, real.held, real.training) if theirs is not None else None
    value = Interval(score, float("nan"), float("nan"), len(set(real.subjects(real.heldout))))
    return Measure("mifid", "memorization", value, null, False, None, "no interval: a ratio with a threshold")
