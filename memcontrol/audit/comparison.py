"""Two audited models side by side, with paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memcontrol.rewards.functional.intervals import Interval, auc_draws, from_draws, mean_interval
from memcontrol.scoring import Evidence, RealImages, ScoringOptions
from memcontrol.scoring.measures.nearness import nearness_functions
from memcontrol.scoring.measures.record import subjects_of

if TYPE_CHECKING:
    from memcontrol.audit.run import Audited

__all__ = ["Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """By how much a model's measure lies above the first one's.

    Args:
        name: The measure.
        other: Name of the model.
        value: Difference (other minus first), with its paired interval.
    """

    name: str
    other: str
    value: Interval


def compare(first: Audited, others: Sequence[Audited], real: RealImages, options: ScoringOptions) -> list[Difference]:
    """Compare models on the same prompts, seeds and probes."""
    found = []
    for other in others:
        pairs = _differences(first.evidence, other.evidence, real, options)
        found += [Difference(name, other.source.name, value) for name, value in pairs.items()]
    return found


def _differences(a: Evidence, b: Evidence, real: RealImages, options: ScoringOptions) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    if a.members and b.members and a.others and b.others:
        inside = subjects_of(real, "train", a.members.rows)
        outside = subjects_of(real, real.heldout, a.others.rows)
        for name, score in (("membership_auc", "loss"), ("membership_auc_secmi", "secmi")):
            if score not in a.members.scores or score not in b.members.scores:
                continue
            (one, draws), (two, other_draws) = (
                auc_draws(-m.scores[score], -o.scores[score], inside, outside, seed=options.seed)
                for m, o in ((a.members, a.others), (b.members, b.others))
            )
            found[name] = from_draws(two - one, other_draws - draws, min(len(set(inside)), len(set(outside))))
        norms = b.members.scores["noise_norm"] - a.members.scores["noise_norm"]
        found["noise_norm"] = mean_interval(norms, inside, seed=options.seed)
        losses = b.others.scores["loss"] - a.others.scores["loss"]
        found["heldout_loss"] = mean_interval(losses, outside, seed=options.seed)
    if a.train and b.train and a.train.rows == b.train.rows and min(a.train.rows) >= 0:
        for name, function in nearness_functions(real, options).items():
            found[name] = mean_interval(function(b.train) - function(a.train), a.train.subjects, seed=options.seed)
    return found
