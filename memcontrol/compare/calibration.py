"""The calibrated attack on evidence that was stored without it: it keeps mean losses of each image, the base's too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memcontrol.compare.evidence import CellEvidence
from memcontrol.compare.methods import BASE
from memcontrol.measures import MEASURES, Measurement
from memcontrol.measures.aggregators import Values

__all__ = ["calibrated"]

CALIBRATED = "membership_captioned"
LOSS = "membership_auc"


def calibrated(cells: Sequence[CellEvidence]) -> list[CellEvidence]:
    """Add what an attacker who knows base and captions finds, where it was not measured.

    It is made from the logarithm of mean losses over all timesteps; measured, it is the mean of logarithms over the
    lower half of them, which finds more.

    Args:
        cells: Cells of a comparison, those of the base among them.
    """
    before = {cell.seed: cell.values[LOSS] for cell in cells if cell.method == BASE and LOSS in cell.values}
    return [_with_fall(cell, before.get(cell.seed)) for cell in cells]


def _with_fall(cell: CellEvidence, base: Values | None) -> CellEvidence:
    own = cell.values.get(LOSS)
    if CALIBRATED in cell.measurements or own is None or base is None:
        return cell
    if list(own.patients) != list(base.patients) or list(own.outside_patients) != list(base.outside_patients):
        return cell
    assert own.outside is not None
    assert base.outside is not None
    fall = Values(
        (-base.inside).log() - (-own.inside).log(),
        own.patients,
        (-base.outside).log() - (-own.outside).log(),
        own.outside_patients,
    )
    measure = MEASURES[CALIBRATED]
    found = measure.aggregator.summarize(fall, None, 1, 0)
    measured = Measurement(measure.name, measure.group, found.value, 0.5, measure.higher_is_better, found.p)
    return replace(
        cell,
        measurements={**cell.measurements, CALIBRATED: measured},
        values={**cell.values, CALIBRATED: fall},
    )
