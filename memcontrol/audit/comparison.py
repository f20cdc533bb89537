"""Two audited models side by side, with paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memcontrol.audit.audited import Audited
from memcontrol.measures import RealImages, ScoringOptions, chosen_measures
from memcontrol.measures.statistics.intervals import Interval

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
    """Compare models on the same prompts, seeds and probes, in every measure that pairs."""
    return [
        Difference(name, other.source.name, value)
        for other in others
        for name, value in _differences(first, other, real, options).items()
    ]


def _differences(a: Audited, b: Audited, real: RealImages, options: ScoringOptions) -> dict[str, Interval]:
    found = {}
    for measure in chosen_measures(options):
        if not (measure.is_reward and a.evidence.holds(measure.needs) and b.evidence.holds(measure.needs)):
            continue
        one, two = (measure.values(item.evidence, item.scene(real, options)) for item in (a, b))
        if one is None or two is None:
            continue
        gap = measure.aggregator.difference(one, two, options.seed)
        if gap is not None:
            found[measure.name] = gap
    return found
