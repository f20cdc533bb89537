"""What an audit finds of one source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from memcontrol.audit.attack import Extraction
from memcontrol.audit.exchangeability import Exchangeability
from memcontrol.audit.sources import Source
from memcontrol.audit.verdict import Verdict
from memcontrol.measures import Evidence, Measurement, RealImages, Scene, ScoringOptions, Shadow
from memcontrol.privacy import Guarantee
from memcontrol.privacy.one_run import OneRun

__all__ = ["Audited"]


@dataclass(frozen=True)
class Audited:
    """One source with all that was found.

    Args:
        source: What was audited.
        evidence: What it sampled and how it scored images.
        measurements: Measurements with intervals and nulls.
        extraction: Outcome of the extraction attack.
        verdict: The conclusion.
        before: Evidence of its base, where there is one.
        fairness: Whether training and held-out patients are alike without it.
        ranked: Training patients, the most exposed first, see `patients_at_risk`.
        shadows: Models that were trained as it was, on other patients.
        guarantee: What is proven of it, or None if nothing is.
        used: What guessing shows of the bound, where coins chose the patients.
    """

    source: Source
    evidence: Evidence
    measurements: list[Measurement]
    extraction: Extraction | None
    verdict: Verdict
    before: Evidence | None = None
    fairness: Exchangeability | None = None
    ranked: pd.DataFrame | None = None
    shadows: Sequence[Shadow] = ()
    guarantee: Guarantee | None = None
    used: OneRun | None = None

    def scene(self, real: RealImages, options: ScoringOptions) -> Scene:
        """Return what its measures are taken in."""
        return Scene(real, options, self.before, self.shadows)
