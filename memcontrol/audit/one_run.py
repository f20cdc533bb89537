"""How much of a proven bound an audit sees used: a lower bound on epsilon from patients who were chosen by coins."""

from __future__ import annotations

from typing import Final

import pandas as pd

from memcontrol.measures import MEASURES, Evidence, Scene
from memcontrol.privacy.one_run import OneRun, guess

__all__ = ["lower_bound"]

ATTACK: Final = "membership_calibrated"
"""The attack that guesses, fixed beforehand: the best of several would need a correction."""
GUESSED: Final = 0.2
"""Share of patients who are guessed."""
DELTA: Final = 1e-5


def lower_bound(evidence: Evidence, scene: Scene, delta: float = DELTA) -> OneRun | None:
    """Return what guessing the training patients shows, or None where no coins chose them (`data.coin_flips`).

    Args:
        evidence: What the model gives away.
        scene: Real images, and evidence of the base.
        delta: Of the bound that it stands beside.

    References:
        Steinke et al., 2305.08846; patients in the place of examples.
    """
    data = scene.real.data
    if data.coin_flips is None:
        return None
    values = MEASURES[ATTACK].values(evidence, scene)
    if values is None or values.outside is None:
        return None
    tossed = data.coin_half(data.coin_flips) | data.coin_half(data.coin_flips ^ 1)
    table = pd.DataFrame(
        {
            "patient": [*values.patients, *values.outside_patients],
            "score": [*values.inside.tolist(), *values.outside.tolist()],
            "included": [True] * len(values.patients) + [False] * len(values.outside_patients),
        }
    )
    patients = table[table["patient"].isin(tossed)].groupby("patient").agg({"score": "mean", "included": "first"})
    if patients["included"].nunique() < 2 or len(patients) < len(tossed):
        return None  # if not all whose coins were tossed are scored (`num_probes`), their numbers were chosen
    number = int(GUESSED * len(patients)) // 2 * 2
    return guess(patients["score"].to_numpy(), patients["included"].to_numpy(), number, delta) if number else None
