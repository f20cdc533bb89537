"""The claims, each with its test; made from evidence files alone.

A method's figure is the mean over its seeds. Its standard error combines those of its seeds, whose unit is the patient.
Holm's correction is over the claims that were tested.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, permutation_test, spearmanr

from memcontrol.pareto import dominates
from memcontrol.rewards.functional.multiplicity import holm
from memcontrol.rewards.objective import reward_of

__all__ = ["Claim", "Row", "judge_claims", "read_rows", "table_of"]

SHOWN = (
    "kid", "fid", "heldout_loss", "amd", "replication", "own_prompt", "noise_norm", "membership_auc",
    "membership_auc_pia",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A method over its seeds.

    Args:
        method: Its name.
        seeds: How many seeds it has.
        trained: Trainable parameters.
        values: Mean of each measure.
        errors: Its standard error.
        nulls: Mean of its null, where there is one.
        directions: Whether higher is better.
    """

    method: str
    seeds: int
    trained: int
    values: dict[str, float]
    errors: dict[str, float]
    nulls: dict[str, float]
    directions: dict[str, bool]


@dataclass(frozen=True)
class Claim:
    """A claim with its test.

    Args:
        number: Its number in the protocol.
        text: The claim.
        figure: What was found.
        p: One-sided p-value, or None where it could not be tested.
        adjusted: After Holm's correction.
        verdict: `holds`, `does not hold`, or `undecided at this n`.
    """

    number: int
    text: str
    figure: str
    p: float | None
    adjusted: float | None
    verdict: str


def read_rows(folder: Path) -> list[Row]:
    """Read the evidence of all cells."""
    cells: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        cells.setdefault(record["method"], []).append(record)
    return [_row(method, records) for method, records in cells.items()]


def _row(method: str, records: list[dict[str, Any]]) -> Row:
    values, errors, nulls, directions = {}, {}, {}, {}
    for name in records[0]["measures"]:
        found = [r["measures"][name] for r in records if name in r["measures"]]
        known = [m["value"] for m in found if m["value"] is not None and m["value"]["value"] is not None]
        if not known:
            continue
        values[name] = float(np.mean([v["value"] for v in known]))
        spreads = [(v["high"] - v["low"]) / (2 * 1.96) for v in known if v["low"] is not None and v["high"] is not None]
        errors[name] = float(np.sqrt(np.sum(np.square(spreads))) / len(known)) if spreads else float("nan")
        null = [m["null"]["value"] if isinstance(m["null"], dict) else m["null"] for m in found]
        if all(v is not None for v in null):
            nulls[name] = float(np.mean(null))
        directions[name] = bool(found[0]["higher_is_better"])
    return Row(method, len(records), int(records[0]["trained"]), values, errors, nulls, directions)


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the table: value +- half of its 95 % interval, and the null."""
    lines = []
    for row in sorted(rows, key=lambda r: r.trained):
        line: dict[str, Any] = {"method": row.method, "seeds": row.seeds, "trained": row.trained}
        for name in SHOWN:
            if name in row.values:
                line[name] = f"{row.values[name]:.4g} ± {1.96 * row.errors[name]:.2g}"
                line[f"{name} null"] = f"{row.nulls[name]:.4g}" if name in row.nulls else ""
        lines.append(line)
    return pd.DataFrame(lines)


def _gap(a: Row, b: Row, name: str) -> tuple[float, float]:
    """Return by how much a's reward lies above b's, and its standard error."""
    sign = reward_of(1.0, a.directions[name])
    return sign * (a.values[name] - b.values[name]), float(np.hypot(a.errors[name], b.errors[name]))


def _p_better(a: Row, b: Row, name: str) -> float:
    gap, error = _gap(a, b, name)
    return float(norm.sf(gap / error)) if error > 0 else float(gap <= 0)


def _p_no_worse(a: Row, b: Row, name: str, margin: float) -> float:
    gap, error = _gap(a, b, name)
    slack = margin * abs(b.values[name])
    return float(norm.sf((gap + slack) / error)) if error > 0 else float(gap + slack <= 0)


def judge_claims(
    rows: Sequence[Row], memorization: str, quality: str, margin: float, adapter: str = "svdiff", level: float = 0.05
) -> list[Claim]:
    """Test claims 1, 2, 3 and 5 of the protocol, as far as there are methods for them.

    Args:
        rows: All methods.
        memorization: The primary measure of memorization.
        quality: The primary measure of quality.
        margin: Non-inferiority margin, as a share of the compared quality value.
        adapter: The adapter whose found mask is tested.
        level: Level after Holm's correction.
    """
    by_name = {row.method: row for row in rows}
    raw = [
        _capacity(rows, memorization),
        _peft(by_name, memorization, quality, margin),
        _found(by_name, adapter, memorization, quality, margin),
        _mitigated(by_name, adapter, memorization),
    ]
    ps = [p for _, _, _, p in raw if p is not None]
    adjusted = iter(holm(ps).tolist())
    claims = []
    for number, text, figure, p in raw:
        a = next(adjusted) if p is not None else None
        verdict = "undecided at this n" if a is None else "holds" if a < level else _otherwise(p)
        claims.append(Claim(number, text, figure, p, a, verdict))
    return claims


def _otherwise(p: float | None) -> str:
    return "does not hold" if p is not None and p > 0.5 else "undecided at this n"


Raw = tuple[int, str, str, float | None]


def _capacity(rows: Sequence[Row], memorization: str) -> Raw:
    text = "memorization rises with the number of trainable parameters"
    known = [row for row in rows if memorization in row.values]
    if len(known) < 5:
        return 1, text, f"{len(known)} methods", None
    trained, scores = [r.trained for r in known], [r.values[memorization] for r in known]
    found = permutation_test(
        (trained,),
        lambda x: spearmanr(x, scores).statistic,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=9999,
        rng=0,
        vectorized=False,
    )
    return 1, text, f"rank correlation {found.statistic:.2f} over {len(known)} methods", float(found.pvalue)


def _peft(by_name: dict[str, Row], memorization: str, quality: str, margin: float) -> Raw:
    text = "PEFT memorizes less than full fine-tuning at no worse quality"
    full = by_name.get("full")
    others = [row for name, row in by_name.items() if name not in ("full", "base") and "_" not in name]
    if full is None or not others:
        return 2, text, "no full fine-tuning, or nothing beside it", None
    ps = {r.method: max(_p_better(r, full, memorization), _p_no_worse(r, full, quality, margin)) for r in others}
    best = min(ps, key=lambda name: ps[name])
    figure = f"{sum(p < 0.05 for p in ps.values())} of {len(ps)} methods; clearest {best} (p = {ps[best]:.2g})"
    return 2, text, figure, min(1.0, ps[best] * len(ps))


def _found(by_name: dict[str, Row], adapter: str, memorization: str, quality: str, margin: float) -> Raw:
    text = "the found mask is dominated by no other, and beats full, its own adapter and random masks"
    found = by_name.get(f"{adapter}_found")
    if found is None:
        return 3, text, f"no method {adapter}_found", None
    names = (memorization, quality)
    point = [reward_of(found.values[n], found.directions[n]) for n in names]
    beaten = [
        r.method
        for r in by_name.values()
        if r is not found and dominates([reward_of(r.values[n], r.directions[n]) for n in names], point)
    ]
    rivals = [r for n, r in by_name.items() if n in ("full", adapter) or n.startswith(f"{adapter}_random")]
    ps = [max(_p_better(found, r, memorization), _p_no_worse(found, r, quality, margin)) for r in rivals]
    figure = f"dominated by {beaten or 'none'}; largest p against {len(rivals)} rivals {max(ps, default=1):.2g}"
    return 3, text, figure, 1.0 if beaten else max(ps, default=1.0)


def _mitigated(by_name: dict[str, Row], adapter: str, memorization: str) -> Raw:
    text = "adding a mitigation lowers memorization further"
    pairs = [
        (by_name[name], by_name[name.rsplit("_", 1)[0]])
        for name in by_name
        if name.rsplit("_", 1)[-1] in ("rwa", "threshold") and name.rsplit("_", 1)[0] in by_name
    ]
    if not pairs:
        return 5, text, "no method with a mitigation and without", None
    ps = {a.method: _p_better(a, b, memorization) for a, b in pairs}
    best = min(ps, key=lambda name: ps[name])
    return 5, text, f"clearest {best} (p = {ps[best]:.2g}) of {len(ps)}", min(1.0, ps[best] * len(ps))
