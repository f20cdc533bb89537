"""Is there one patient whose images the model knows, whatever the average says?

An average over a thousand patients does not see one who is known by heart, and ranks cannot: the first of a thousand is
the first by chance. What tells him from the others is how far he stands out, see `p_beyond`.
"""

from __future__ import annotations

import numpy as np

from memcontrol.measures.aggregators import Aggregator, Summary, Values
from memcontrol.measures.measure import Scene, register
from memcontrol.measures.membership import LOW_NOISE, CalibratedMeasure
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.measures.statistics.tails import beyond, by_patient, p_beyond

__all__ = ["StandsOut", "WorstPatient"]


class StandsOut(Aggregator):
    """How far the highest patient of `inside` stands above those of `outside`, in their standard deviations."""

    keeps_values = False

    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Return the distance, without an interval, and the p-value of the highest of so many patients."""
        (_, inside), null = by_patient(ours.inside.numpy(), ours.patients), _null(ours)
        p = min(1.0, len(inside) * float(p_beyond(inside, null).min()))
        value = self.value(ours)
        return Summary(Interval(value, float("nan"), float("nan"), ours.num_patients), None, p)

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return none."""
        return np.zeros(0)

    def value(self, values: Values) -> float:
        """Return the distance."""
        null = _null(values)
        highest = by_patient(values.inside.numpy(), values.patients)[1].max()
        return float((highest - null.mean()) / max(null.std(ddof=1), 1e-12))


class WorstPatient(CalibratedMeasure):
    """How far the training patient whose loss fell furthest stands out from held-out ones."""

    name = "membership_worst"
    needs = LOW_NOISE
    aggregator = StandsOut()
    words = "how far the patient whose loss fell furthest stands out, in standard deviations of held-out patients"
    leak = "its loss fell far more on one training patient than it does on any held-out one"
    is_reward = False

    def note(self, ours: Values, scene: Scene, note: str) -> str:
        """Say which fall of one patient's loss would be found."""
        null, number = _null(ours), len(set(ours.patients))
        enough = beyond(0.001 / number, null)
        share = float(np.exp(null.mean() - enough))
        return f"one patient of {number} is found (p < 0.001) from a loss on that falls to {share:.2g} of the others'"


def _null(values: Values) -> np.ndarray:
    assert values.outside is not None
    return by_patient(values.outside.numpy(), values.outside_patients)[1]


register(WorstPatient())
