"""From evidence to measures: each with an interval, its null, and the direction in which it is better."""

from __future__ import annotations

from memcontrol.scoring.evidence import Evidence
from memcontrol.scoring.measures.membership import membership_measures
from memcontrol.scoring.measures.nearness import nearness_measures
from memcontrol.scoring.measures.quality import quality_measures
from memcontrol.scoring.measures.record import HIGHER_IS_BETTER, Measure
from memcontrol.scoring.options import ScoringOptions
from memcontrol.scoring.real import RealImages

__all__ = ["HIGHER_IS_BETTER", "Measure", "measure"]


def measure(
    evidence: Evidence, real: RealImages, options: ScoringOptions, base: Evidence | None = None
) -> list[Measure]:
    """Compute every measure that the evidence allows.

    Args:
        evidence: What the model drew and how it scored images.
        real: Real images.
        options: Seed and share of false alarms.
        base: The same of the untouched base, which is the null of every measure of memorization. Without it, drawn
            images are compared with those that the same model drew for held-out prompts.

    Returns:
        Measures of memorization on training prompts, and of quality on held-out prompts.
    """
    found: list[Measure] = []
    found += membership_measures(evidence, real, options, base)
    if evidence.train is not None:
        found += nearness_measures(evidence, evidence.train, real, options, base)
    if evidence.heldout is not None:
        found += quality_measures(evidence.heldout, real, options, base)
    return found
