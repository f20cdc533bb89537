"""What a study hands on: `pareto.csv`, `masks/NNN.yaml` (a trial's earlier points: `NNN-STEP.yaml`), `best.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from memcontrol.files.atomic import replacing, write_text
from memcontrol.files.sheet import write_sheet
from memcontrol.jobs.job import put
from memcontrol.search.front import FrontPoint, pick
from memcontrol.search.records import TrialRecord
from memcontrol.search.study import Study

__all__ = ["front_table", "write_results"]


def front_table(study: Study, points: Sequence[FrontPoint], records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return the front, one point per row."""
    by_number = {record.number: record for record in records}
    rows = []
    for point in sorted(points, key=lambda p: p.rewards, reverse=True):
        record = by_number[point.id.trial]
        row: dict[str, Any] = {
            "trial": point.id.trial,
            "step": point.id.step,
            "mask": f"bits:{''.join(map(str, record.mask))}",
            **record.values,
            "rescored": point.is_rescored,
        }
        for name, reward, first in zip(study.options.objectives, point.rewards, point.reported.rewards, strict=True):
            found = point.measures[name]
            row |= {f"reward/{name}": reward, name: found.value, f"{name}_low": found.low}
            row |= {f"{name}_high": found.high, f"{name}_n": found.n, f"first_reward/{name}": first}
        rows.append(row)
    return pd.DataFrame(rows)


def write_results(study: Study, points: Sequence[FrontPoint], records: Sequence[TrialRecord]) -> FrontPoint | None:
    """Write the front and an overlay for each of its points; returns the picked one.

    An overlay carries mask, learning rate, parameters and step: `fit --config mimic.yaml --config masks/003.yaml`.
    """
    if not points:
        return None
    with replacing(study.folder / "pareto.csv") as partial:
        write_sheet(front_table(study, points, records), partial)
    folder = study.folder / "masks"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.yaml"):
        old.unlink()
    by_number = {record.number: record for record in records}
    last = {point.id.trial: point.id.step for point in sorted(points, key=lambda p: p.id.step)}
    for point in points:
        step = "" if point.id.step == last[point.id.trial] else f"-{point.id.step:07d}"
        path = folder / f"{point.id.trial:03d}{step}.yaml"
        _write_overlay(path, study, by_number[point.id.trial], point)
    best = pick(points, study.options.pick, study.options.objectives)
    _write_overlay(study.folder / "best.yaml", study, by_number[best.id.trial], best)
    return best


def _write_overlay(path: Path, study: Study, record: TrialRecord, point: FrontPoint) -> None:
    tree = record.overlay(bool(study.space.slots))
    put(tree, "trainer.max_steps", point.id.step)
    found = ", ".join(f"{name} {point.measures[name].value:.4g}" for name in study.options.objectives)
    head = f"# Trial {record.number} at step {point.id.step}: {found}\n"
    write_text(path, head + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None))
