r"""Rows of the table, from evidence files alone.

A method's figure is the mean over its seeds. All seeds meet the same test patients, prompts and noise, so the squared
standard error of a mean over k seeds has two parts: that of the patients, from replicates that are averaged over seeds,
and that of training,

.. math:: \mathrm{SE}^2 = \mathrm{Var}_{replicates}(\bar\theta) + \mathrm{Var}_{seeds}(\theta) / k.

Replicates are paired between methods, so a difference has the same formula with the differences in its place. Its test
is Student's with the degrees of freedom that Satterthwaite's formula gives to such a sum: few seeds say little of how
much seeds vary. One seed says nothing, so nothing is decided by it.

References:
    Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics Bulletin 2 (1946).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from scipy.stats import t as student

from memcontrol.compare.calibration import calibrated
from memcontrol.compare.evidence import Candidate, CellEvidence
from memcontrol.compare.options import CompareOptions
from memcontrol.errors import SearchError
from memcontrol.measures import MEASURES
from memcontrol.measures.statistics.intervals import Z95, Interval
from memcontrol.measures.statistics.objective import reward_of
from memcontrol.measures.statistics.shares import is_share, share_interval

__all__ = ["Row", "p_better", "p_no_worse", "read_rows", "smallest_shown", "table_of"]

MANY = 1_000_000
"""Patients of a row that does not say how many it has."""


@dataclass(frozen=True)
class Row:
    """A method over its seeds.

    Args:
        method: Its name.
        seeds: Its seeds.
        trained: Trainable parameters.
        share: Their share of the U-Net's.
        values: Value of each seed by measure.
        errors: Standard error of the mean over seeds by measure.
        nulls: Mean of its null, where there is one.
        directions: Whether higher is better.
        replicates: Replicates of the mean over seeds, over patients, by measure; for some measures only.
        candidates: What learning rate and step were chosen from, on validation patients.
        chosen: Learning rate and step.
        extraction: Attacked prompts, and those whose samples agree with each other, over all seeds.
        mitigates: The method that this one adds a mitigation to, or None.
        patients: Number of patients behind each measure.
    """

    method: str
    seeds: tuple[int, ...]
    trained: int
    share: float
    values: dict[str, np.ndarray]
    errors: dict[str, float]
    nulls: dict[str, float] = field(default_factory=dict)
    directions: dict[str, bool] = field(default_factory=dict)
    replicates: dict[str, np.ndarray] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    chosen: Mapping[str, float] = field(default_factory=dict)
    extraction: tuple[int, int] | None = None
    mitigates: str | None = None
    patients: Mapping[str, int] = field(default_factory=dict)

    @property
    def chosen_rewards(self) -> tuple[float, ...]:
        """Rewards of memorization and quality on validation patients of what was chosen; none where nothing was."""
        if not self.chosen:
            return ()
        at = (self.chosen["lr"], int(self.chosen["step"]))
        return next((c.point.rewards for c in self.candidates if (c.lr, c.point.step) == at), ())

    def mean(self, name: str) -> float:
        """Return the mean of a measure over seeds."""
        return float(np.mean(self.values[name]))

    def reach(self, name: str) -> float:
        """Return half of the 95 % interval of the mean over seeds, by Student's t; NaN where there is none."""
        error, of_seeds = self.errors[name], _seed_variance(self.values[name])
        of_patients = max(0.0, error**2 - of_seeds)
        freedom = _satterthwaite(of_patients, of_seeds, self.patients.get(name, MANY), len(self.seeds))
        return float(student.isf(0.025, freedom) * error)

    def reward(self, name: str) -> float:
        """Return the mean as a reward: higher is better."""
        return reward_of(self.mean(name), self.directions[name])


def read_rows(folder: Path, options: CompareOptions) -> list[Row]:
    """Read the evidence of all cells.

    Raises:
        SearchError: If there is none, or it is of several comparisons.
    """
    cells: dict[str, list[CellEvidence]] = {}
    for path in sorted(folder.glob("*.json")):
        found = CellEvidence.read(path)
        cells.setdefault(found.method, []).append(found)
    if not cells:
        raise SearchError(f"Argument `compare.evidence` is {str(folder)!r}, which holds no evidence. Run cells first.")
    made_under = {found.setting.partition(":")[0] for group in cells.values() for found in group}
    if len(made_under) > 1:
        raise SearchError(
            f"Argument `compare.evidence` is {str(folder)!r}, whose cells were made under different configs (digests "
            f"{sorted(made_under)}). Keep each comparison in a folder of its own."
        )
    whole = calibrated([cell for group in cells.values() for cell in group])
    cells = {method: [cell for cell in whole if cell.method == method] for method in cells}
    rows = [_row(method, group, options.scoring.seed) for method, group in cells.items()]
    return sorted(rows, key=lambda row: (row.trained, row.method))


def _row(method: str, cells: Sequence[CellEvidence], seed: int) -> Row:
    cells = sorted(cells, key=lambda cell: cell.seed)
    replicates = _replicates(cells, seed)
    values, errors, nulls, directions, patients = {}, {}, {}, {}, {}
    for name in cells[0].measurements:
        found = [cell.measurements.get(name) for cell in cells]
        estimates = [m.value for m in found if m is not None and m.value is not None]
        if len(estimates) < len(cells):
            continue
        values[name] = np.array([estimate.value for estimate in estimates])
        errors[name] = _error(values[name], replicates.get(name), estimates)
        patients[name] = min(estimate.n for estimate in estimates)
        null = [m.null.value if isinstance(m.null, Interval) else m.null for m in found if m is not None]
        if all(v is not None for v in null):
            nulls[name] = float(np.mean([v for v in null if v is not None]))
        directions[name] = next(m.higher_is_better for m in found if m is not None)
    first = cells[0]
    tuned = [cell for cell in cells if cell.candidates]
    return Row(
        method,
        tuple(cell.seed for cell in cells),
        first.trained,
        first.trained / first.parameters,
        values,
        errors,
        nulls,
        directions,
        replicates,
        tuple(tuned[0].candidates) if tuned else (),
        first.chosen,
        _extraction(cells),
        first.mitigates,
        patients,
    )


def _extraction(cells: Sequence[CellEvidence]) -> tuple[int, int] | None:
    attacked = [cell.extraction for cell in cells if cell.extraction is not None]
    if not attacked:
        return None
    return sum(a.prompts for a in attacked), sum(a.flagged for a in attacked)


def _replicates(cells: Sequence[CellEvidence], seed: int) -> dict[str, np.ndarray]:
    """Return replicates of the mean over seeds, of each measure that all cells have some of."""
    names = dict.fromkeys(name for cell in cells for name in (*cell.replicates, *cell.values))
    found = {}
    for name in names:
        parts = [part for cell in cells if (part := cell.replicates_of(name, seed)) is not None and len(part)]
        if len(parts) == len(cells) and len({len(part) for part in parts}) == 1:
            found[name] = np.mean(parts, axis=0)
    return found


def _error(values: np.ndarray, replicates: np.ndarray | None, estimates: Sequence[Interval]) -> float:
    """Return the standard error of the mean; without replicates, patients count as the same in all seeds.

    Where no patient shows anything, as many patients could still hide something: the error is that of the exact bound.
    """
    if replicates is not None and len(replicates) > 1:
        error = float(np.sqrt(np.var(replicates, ddof=1) + _seed_variance(values)))
    else:
        spreads = [(e.high - e.low) / (2 * Z95) for e in estimates if np.isfinite(e.low) and np.isfinite(e.high)]
        error = float(np.sqrt(np.mean(np.square(spreads)) + _seed_variance(values))) if spreads else float("nan")
    if error == 0 and is_share(values):
        patients = min(e.n for e in estimates)
        error = share_interval(np.zeros(patients), [str(i) for i in range(patients)]).high / (2 * Z95)
    return error


def _seed_variance(values: np.ndarray) -> float:
    return float(np.var(values, ddof=1) / len(values)) if len(values) > 1 else 0.0


def _gap(a: Row, b: Row, name: str) -> tuple[float, float, float]:
    """Return by how much a's reward lies above b's, its variance over patients, and that over seeds.

    Both are paired where both have the same seeds.
    """
    gap = a.reward(name) - b.reward(name)
    one, two = a.replicates.get(name), b.replicates.get(name)
    if a.seeds == b.seeds and one is not None and two is not None and len(one) == len(two) > 1:
        return gap, float(np.var(one - two, ddof=1)), _seed_variance(a.values[name] - b.values[name])
    seeds = _seed_variance(a.values[name]) + _seed_variance(b.values[name])
    return gap, float(np.maximum(0.0, a.errors[name] ** 2 + b.errors[name] ** 2 - seeds)), seeds


def smallest_shown(a: Row, b: Row, name: str) -> float:
    """Return the smallest true difference of two rows in a measure that a test at 5 % would show four times in five.

    Not a number where a measure has no interval, or a method one seed.
    """
    _, of_patients, of_seeds = _gap(a, b, name)
    freedom = _freedom(a, b, name, of_patients, of_seeds)
    if freedom is None or of_patients + of_seeds == 0:
        return float("nan")
    reach = student.isf(0.05, freedom) + student.isf(0.2, freedom)
    return float(reach * np.sqrt(of_patients + of_seeds))


def p_better(a: Row, b: Row, name: str) -> float:
    """Return the one-sided p-value of a being better than b in a measure."""
    return p_no_worse(a, b, name, 0.0)


def p_no_worse(a: Row, b: Row, name: str, margin: float) -> float:
    """Return the one-sided p-value of a being worse than b by less than a share of b's value.

    A measure without an interval, such as MIFID, tells nothing, and neither does one seed of a method: 0.5.
    """
    gap, of_patients, of_seeds = _gap(a, b, name)
    freedom = _freedom(a, b, name, of_patients, of_seeds)
    if freedom is None or not np.isfinite(gap):
        return 0.5
    variance, slack = of_patients + of_seeds, margin * abs(b.mean(name))
    if variance == 0:
        return float(gap + slack <= 0)
    return float(student.sf((gap + slack) / np.sqrt(variance), freedom))


def _freedom(a: Row, b: Row, name: str, of_patients: float, of_seeds: float) -> float | None:
    """Return Satterthwaite's degrees of freedom of a difference's variance, or None where it is not known."""
    seeds = min(len(a.seeds), len(b.seeds))
    variance = of_patients + of_seeds
    if not np.isfinite(variance) or seeds < 2:
        return None
    patients = min(a.patients.get(name, MANY), b.patients.get(name, MANY))
    return _satterthwaite(of_patients, of_seeds, patients, seeds)


def _satterthwaite(of_patients: float, of_seeds: float, patients: int, seeds: int) -> float:
    """Return the degrees of freedom of a sum of a variance over patients and one over seeds, each of a mean."""
    if of_patients + of_seeds == 0:
        return float("inf")
    parts = of_patients**2 / max(1, patients - 1) + of_seeds**2 / max(1, seeds - 1)
    return float((of_patients + of_seeds) ** 2 / parts)


def _columns() -> list[str]:
    """Return the measures that stand in the table, in its order."""
    shown = [measure for measure in MEASURES.values() if measure.column]
    return [measure.name for measure in sorted(shown, key=lambda measure: measure.column)]


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the table: value ± half of its 95 % interval, and the null."""
    lines = []
    for row in rows:
        line: dict[str, Any] = {
            "method": row.method,
            "seeds": len(row.seeds),
            "trained": row.trained,
            "share": f"{100 * row.share:.3g} %",
            "lr": f"{row.chosen['lr']:g}" if row.chosen else "",
            "step": f"{row.chosen['step']:.0f}" if row.chosen else "",
        }
        for name in _columns():
            if name in row.values:
                reach = row.reach(name)
                line[name] = f"{row.mean(name):.4g}" + (f" ± {reach:.2g}" if np.isfinite(reach) else "")
                line[f"{name} null"] = f"{row.nulls[name]:.4g}" if name in row.nulls else ""
        if row.extraction is not None:
            prompts, flagged = row.extraction
            ends = binomtest(flagged, prompts).proportion_ci(method="wilson")
            line["extraction"] = f"{flagged} of {prompts} prompts [{ends.low:.2g}, {ends.high:.2g}]"
        lines.append(line)
    return pd.DataFrame(lines).fillna("")
