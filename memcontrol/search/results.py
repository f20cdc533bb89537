"""What a study hands on: `pareto.csv`, `masks/NNN.yaml` (a trial's earlier points: `NNN-STEP.yaml`), `best.yaml`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from memcontrol.search.front import FrontPoint, pick
from memcontrol.search.records import TrialRecord
from memcontrol.search.study import Study
from memcontrol.search.trial import overlay_of

__all__ = ["front_table", "write_results"]


def front_table(study: Study, points: Sequence[FrontPoint], records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return the front, one point per row."""
    by_number = {record.number: record for record in records}
    rows = []
    for point in sorted(points, key=lambda p: p.rewards, reverse=True):
        record = by_number[point.trial]
        row: dict[str, Any] = {
            "trial": point.trial,
            "step": point.step,
            "mask": f"bits:{''.join(map(str, record.mask))}",
            **record.values,
            "rescored": point.is_rescored,
        }
        for name, reward, first in zip(study.options.objectives, point.rewards, point.first_rewards, strict=True):
            found = point.measures.get(name, {})
            row |= {f"reward/{name}": reward, name: found.get("value"), f"{name}_low": found.get("low")}
            row |= {f"{name}_high": found.get("high"), f"{name}_n": found.get("n"), f"first_reward/{name}": first}
        rows.append(row)
    return pd.DataFrame(rows)


def write_results(study: Study, points: Sequence[FrontPoint], records: Sequence[TrialRecord]) -> FrontPoint | None:
    """Write the front and an overlay for each of its points; returns the picked one.

    An overlay carries mask, learning rate, parameters and step: `fit --config mimic.yaml --config masks/003.yaml`.
    """
    if not points:
        return None
    front_table(study, points, records).to_csv(study.folder / "pareto.csv", index=False)
    folder = study.folder / "masks"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.yaml"):
        old.unlink()
    by_number = {record.number: record for record in records}
    last = {point.trial: point.step for point in sorted(points, key=lambda p: p.step)}
    for point in points:
        step = "" if point.step == last[point.trial] else f"-{point.step:07d}"
        path = folder / f"{point.trial:03d}{step}.yaml"
        _write_overlay(path, study, by_number[point.trial], point)
    best = pick(points, study.options.pick, study.options.objectives)
    _write_overlay(study.folder / "best.yaml", study, by_number[best.trial], best)
    return best


def _write_overlay(path: Path, study: Study, record: TrialRecord, point: FrontPoint) -> None:
    tree = overlay_of(record.mask if study.space.slots else None, record.values)
    tree.setdefault("trainer", {})["max_steps"] = point.step
    rewards = ", ".join(
        f"{name} {point.measures.get(name, {}).get('value', float('nan')):.4g}" for name in study.options.objectives
    )
    head = f"# Trial {record.number} at step {point.step}: {rewards}\n"
    partial = path.with_suffix(".part")
    partial.write_text(head + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None))
    os.replace(partial, path)
