"""What a study hands on: `pareto.csv`, `trials.csv`, `best.yaml`, `masks/NNN.yaml` (or `NNN-STEP-xSCALE.yaml`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from memcontrol.adapters.slots import DEFAULT_LAYOUT
from memcontrol.files.atomic import replacing, write_text
from memcontrol.files.sheet import write_sheet
from memcontrol.jobs.job import put
from memcontrol.search.front import FrontPoint, pick
from memcontrol.search.records import TrialRecord
from memcontrol.search.study import Study
from memcontrol.search.tables import TRIALS, trials_table

__all__ = ["front_table", "write_results"]


def front_table(study: Study, points: Sequence[FrontPoint], records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return the front, one point per row."""
    by_number = {record.number: record for record in records}
    has_scales = any(point.id.scale != 1 for point in points)
    rows = []
    for point in sorted(points, key=lambda p: p.rewards, reverse=True):
        record = by_number[point.id.trial]
        row: dict[str, Any] = {
            "trial": point.id.trial,
            "step": point.id.step,
            **({"scale": point.id.scale} if has_scales else {}),
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
    """Write the front and an overlay for each of its points; returns the picked one, None where bounds allow none.

    An overlay carries mask, learning rate, parameters and step: `fit --config mimic.yaml --config masks/003.yaml`.
    """
    if not points:
        return None
    for name, table in (("pareto.csv", front_table(study, points, records)), (TRIALS, trials_table(records))):
        with replacing(study.folder / name) as partial:
            write_sheet(table, partial)
    folder = study.folder / "masks"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.yaml"):
        old.unlink()
    by_number = {record.number: record for record in records}
    last = {point.id.trial: point.id for point in sorted(points, key=lambda p: (p.id.step, p.id.scale))}
    for point in points:
        step = "" if point.id.step == last[point.id.trial].step else f"-{point.id.step:07d}"
        scale = "" if point.id.scale == last[point.id.trial].scale else f"-x{point.id.scale:g}"
        path = folder / f"{point.id.trial:03d}{step}{scale}.yaml"
        _write_overlay(path, study, by_number[point.id.trial], point)
    best = pick(points, study.options.pick, study.options.objectives)
    if best is None:
        (study.folder / "best.yaml").unlink(missing_ok=True)
        return None
    _write_overlay(study.folder / "best.yaml", study, by_number[best.id.trial], best)
    return best


def _write_overlay(path: Path, study: Study, record: TrialRecord, point: FrontPoint) -> None:
    tree = study.space.overlay(record.mask, record.units)
    slots = study.plain.get("model", {}).get("init_args", {}).get("slots")
    if study.space.slots and slots not in (None, DEFAULT_LAYOUT):
        put(tree, "model.slots", slots)
    put(tree, "trainer.max_steps", point.id.step)
    if point.id.scale != 1:
        put(tree, "model.scale", point.id.scale)
    found = ", ".join(f"{name} {point.measures[name].value:.4g}" for name in study.options.objectives)
    scale = "" if point.id.scale == 1 else f", {point.id.scale:g} of the way from the base"
    head = f"# Trial {record.number} at step {point.id.step}{scale}: {found}\n"
    planned = study.plain.get("trainer", {}).get("max_steps", -1)
    if point.id.step < planned and _is_made_for_its_end(study, tree):
        head += (
            f"# These were the first of {planned} steps, and the schedule of the learning rate or the noise of "
            f"`model.privacy`\n# was made for so many: what is trained for {point.id.step} steps is another model.\n"
        )
    write_text(path, head + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None))


def _is_made_for_its_end(study: Study, tree: dict[str, Any]) -> bool:
    """Whether a training depends on its number of steps from the beginning on."""
    both = [study.plain.get("model", {}).get("init_args", {}), tree.get("model", {})]
    schedule = [part["optimizer"]["schedule"] for part in both if "schedule" in (part.get("optimizer") or {})]
    privacy = [part["privacy"] for part in both if part.get("privacy")]
    return bool(privacy) or (bool(schedule) and not schedule[-1].startswith("constant"))
