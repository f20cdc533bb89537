r"""Rows of the table, from evidence files alone.

A method's figure is the mean over its seeds. All seeds meet the same test patients, prompts and noise, so the squared
standard error of a mean over k seeds has two parts: that of the patients, from draws that are averaged over seeds, and
that of training,

.. math:: \mathrm{SE}^2 = \mathrm{Var}_{draws}(\bar\theta) + \mathrm{Var}_{seeds}(\theta) / k.

Draws are paired between methods, so a difference has the same formula with the differences in its place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm

from memcontrol.compare.options import CompareOptions
from memcontrol.errors import SearchError
from memcontrol.rewards.functional.intervals import Z95, auc_draws
from memcontrol.rewards.objective import reward_of

__all__ = ["Row", "p_better", "p_no_worse", "read_rows", "table_of"]

SHOWN = (
    "fid", "kid", "heldout_loss", "amd", "replication", "own_prompt", "noise_norm", "membership_auc",
    "membership_auc_secmi", "membership_auc_pia",
)  # fmt: skip


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
        draws: Draws of the mean over seeds, around the patients, by measure; for some measures only.
        candidates: What learning rate and step were chosen from, on validation patients.
        chosen: Learning rate and step.
        extraction: Attacked prompts, and those whose samples agree with each other, over all seeds.
    """

    method: str
    seeds: tuple[int, ...]
    trained: int
    share: float
    values: dict[str, np.ndarray]
    errors: dict[str, float]
    nulls: dict[str, float] = field(default_factory=dict)
    directions: dict[str, bool] = field(default_factory=dict)
    draws: dict[str, np.ndarray] = field(default_factory=dict)
    candidates: tuple[dict[str, Any], ...] = ()
    chosen: dict[str, float] = field(default_factory=dict)
    extraction: tuple[int, int] | None = None

    def mean(self, name: str) -> float:
        """Return the mean of a measure over seeds."""
        return float(np.mean(self.values[name]))

    def reward(self, name: str) -> float:
        """Return the mean as a reward: higher is better."""
        return reward_of(self.mean(name), self.directions[name])


def read_rows(folder: Path, options: CompareOptions) -> list[Row]:
    """Read the evidence of all cells.

    Raises:
        SearchError: If there is none, or it is of several comparisons.
    """
    cells: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        cells.setdefault(record["method"], []).append(record)
    if not cells:
        raise SearchError(f"Argument `compare.evidence` is {str(folder)!r}, which holds no evidence. Run cells first.")
    made_under = {r.get("setting", "").partition(":")[0] for records in cells.values() for r in records}
    if len(made_under) > 1:
        raise SearchError(
            f"Argument `compare.evidence` is {str(folder)!r}, whose cells were made under different configs (digests "
            f"{sorted(made_under)}). Keep each comparison in a folder of its own."
        )
    rows = [_row(method, records, options.scoring.seed) for method, records in cells.items()]
    return sorted(rows, key=lambda row: (row.trained, row.method))


def _row(method: str, records: list[dict[str, Any]], seed: int) -> Row:
    records = sorted(records, key=lambda record: int(record["seed"]))
    draws = _draws(records, seed)
    values, errors, nulls, directions = {}, {}, {}, {}
    for name in records[0]["measures"]:
        found = [record["measures"].get(name) for record in records]
        if any(m is None or m["value"] is None or m["value"]["value"] is None for m in found):
            continue
        values[name] = np.array([m["value"]["value"] for m in found])
        errors[name] = _error(values[name], draws.get(name), [m["value"] for m in found])
        null = [m["null"]["value"] if isinstance(m["null"], dict) else m["null"] for m in found]
        if all(v is not None for v in null):
            nulls[name] = float(np.mean(null))
        directions[name] = bool(found[0]["higher_is_better"])
    first = records[0]
    tuned = [record for record in records if record["candidates"]]
    return Row(
        method,
        tuple(int(record["seed"]) for record in records),
        int(first["trained"]),
        first["trained"] / first["parameters"],
        values,
        errors,
        nulls,
        directions,
        draws,
        tuple(tuned[0]["candidates"]) if tuned else (),
        first["chosen"],
        _extraction(records),
    )


def _extraction(records: list[dict[str, Any]]) -> tuple[int, int] | None:
    attacked = [record["extraction"] for record in records if record.get("extraction")]
    if not attacked:
        return None
    return sum(a["prompts"] for a in attacked), sum(a["flagged"] for a in attacked)


def _draws(records: list[dict[str, Any]], seed: int) -> dict[str, np.ndarray]:
    found = {name: np.mean([r["draws"][name] for r in records], axis=0) for name in records[0]["draws"]}
    images = [record["images"] for record in records]
    aucs = [
        auc_draws(
            -np.array(i["member_loss"]), -np.array(i["other_loss"]), i["member_patient"], i["other_patient"], seed=seed
        )[1]
        for i in images
    ]
    return {**found, "membership_auc": np.mean(aucs, axis=0)}


def _error(values: np.ndarray, draws: np.ndarray | None, intervals: Sequence[dict[str, float | None]]) -> float:
    """Return the standard error of the mean; without draws, patients count as the same in all seeds."""
    if draws is not None and len(draws) > 1:
        return float(np.sqrt(np.var(draws, ddof=1) + _seed_variance(values)))
    ends = [(i["low"], i["high"]) for i in intervals]
    spreads = [(high - low) / (2 * Z95) for low, high in ends if low is not None and high is not None]
    if not spreads:
        return float("nan")
    return float(np.sqrt(np.mean(np.square(spreads)) + _seed_variance(values)))


def _seed_variance(values: np.ndarray) -> float:
    return float(np.var(values, ddof=1) / len(values)) if len(values) > 1 else 0.0


def _gap(a: Row, b: Row, name: str) -> tuple[float, float]:
    """Return by how much a's reward lies above b's, and its standard error, paired where both have the same seeds."""
    gap = a.reward(name) - b.reward(name)
    one, two = a.draws.get(name), b.draws.get(name)
    if a.seeds == b.seeds and one is not None and two is not None and len(one) == len(two) > 1:
        return gap, float(np.sqrt(np.var(one - two, ddof=1) + _seed_variance(a.values[name] - b.values[name])))
    return gap, float(np.hypot(a.errors[name], b.errors[name]))


def p_better(a: Row, b: Row, name: str) -> float:
    """Return the one-sided p-value of a being better than b in a measure."""
    return p_no_worse(a, b, name, 0.0)


def p_no_worse(a: Row, b: Row, name: str, margin: float) -> float:
    """Return the one-sided p-value of a being worse than b by less than a share of b's value.

    A measure without an interval, such as MIFID, tells nothing: 0.5.
    """
    gap, error = _gap(a, b, name)
    slack = margin * abs(b.mean(name))
    if not np.isfinite(gap + error):
        return 0.5
    return float(norm.sf((gap + slack) / error)) if error > 0 else float(gap + slack <= 0)


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
        for name in SHOWN:
            if name in row.values:
                reach = Z95 * row.errors[name]
                line[name] = f"{row.mean(name):.4g}" + (f" ± {reach:.2g}" if np.isfinite(reach) else "")
                line[f"{name} null"] = f"{row.nulls[name]:.4g}" if name in row.nulls else ""
        if row.extraction is not None:
            prompts, flagged = row.extraction
            ends = binomtest(flagged, prompts).proportion_ci(method="wilson")
            line["extraction"] = f"{flagged} of {prompts} prompts [{ends.low:.2g}, {ends.high:.2g}]"
        lines.append(line)
    return pd.DataFrame(lines).fillna("")
