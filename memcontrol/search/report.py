"""The report of a study: one HTML file that opens offline; it holds no picture, prompt or id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memcontrol.files.redaction import without_paths
from memcontrol.measures.statistics.objective import loss_of
from memcontrol.reports.page import data_url, write_page
from memcontrol.reports.study_figures import (
    FrontMark,
    front_plot,
    importance_plot,
    masks_plot,
    parallel_plot,
    volume_plot,
)
from memcontrol.search.bayes import PairwiseModel, features
from memcontrol.search.budget import budget_line
from memcontrol.search.front import FrontPoint, volume_over_trials
from memcontrol.search.records import TrialRecord, TrialState
from memcontrol.search.results import front_table
from memcontrol.search.space import Parameter, SearchSpace
from memcontrol.search.study import Study

__all__ = ["write_report"]


def write_report(
    study: Study, records: Sequence[TrialRecord], points: Sequence[FrontPoint], best: FrontPoint | None
) -> Path:
    """Write `report.html`; a half-written one is never seen."""
    slots, objectives = study.space.slots, study.options.objectives
    figures = {
        "The front": _front_figure(records, points, objectives, best),
        "Masks of the front, from input to output (red: down, mid, up)": _masks_figure(points, records, slots),
        "What each slot changes": _importance_figure(records, study.space, objectives),
        "Hypervolume over trials": volume_plot(volume_over_trials(records)),
        "Parallel coordinates": _parallel_figure(records, study.space, objectives),
    }
    return write_page(
        study.folder / "report.html",
        "study.html",
        title="Study",
        picked=_picked(study, points, best),
        summary=_summary(study, records),
        budget=budget_line(study.trial(record.number) for record in records),
        front=_front(study, points, records),
        figures=[{"title": title, "source": data_url(png)} for title, png in figures.items() if png is not None],
        trials=[_trial(record, study.paths) for record in records],
        has_errors=any(record.error for record in records),
    )


def _picked(study: Study, points: Sequence[FrontPoint], best: FrontPoint | None) -> str:
    if not points:
        return "No point yet."
    if best is None:
        values = {name: [point.measures[name].value for point in points] for name in study.options.objectives}
        nearest = [f"{name} {min(found):.4g} to {max(found):.4g}" for name, found in values.items()]
        return f"No point of the front has {study.options.pick}: it spans {' and '.join(nearest)}."
    scale = "" if best.id.scale == 1 else f", {best.id.scale:g} of the way from the base"
    return f"Picked ({study.options.pick}): trial {best.id.trial} at step {best.id.step}{scale}."


def _summary(study: Study, records: Sequence[TrialRecord]) -> str:
    counts = {state: sum(r.state is state for r in records) for state in TrialState}
    said = ", ".join(f"{count} {state.lower()}" for state, count in counts.items() if count)
    parts = ("total", "training", "sampling", "scoring", "validation")
    spent = {name: sum(r.seconds.get(name, 0.0) for r in records) for name in parts}
    spent["other"] = spent["total"] - sum(v for k, v in spent.items() if k != "total")
    return (
        f"{said} of {study.options.trials} trials; {spent['total']:.0f} s in trials: {spent['training']:.0f} s "
        f"training, {spent['sampling']:.0f} s sampling, {spent['scoring']:.0f} s scoring, "
        f"{spent['validation']:.0f} s other validation, {spent['other']:.0f} s everything else."
    )


def _front(study: Study, points: Sequence[FrontPoint], records: Sequence[TrialRecord]) -> dict[str, Any] | None:
    if not points:
        return None
    table = front_table(study, points, records)
    for name in study.options.objectives:
        low, high = table.pop(f"{name}_low"), table.pop(f"{name}_high")
        table[name] = [f"{v:.4g} [{a:.4g}, {b:.4g}]" for v, a, b in zip(table[name], low, high, strict=True)]
        table = table.drop(columns=[f"reward/{name}", f"first_reward/{name}"])
    first = [name for name in ("trial", "step", "scale", *study.options.objectives) if name in table]
    table = table[[*first, *(name for name in table.columns if name not in first)]]
    columns = [str(column).removeprefix("model.") for column in table.columns]
    rows = [[f"{v:.4g}" if isinstance(v, float) else v for v in row] for row in table.itertuples(index=False)]
    return {"columns": columns, "rows": rows}


def _trial(record: TrialRecord, known: Sequence[str]) -> dict[str, Any]:
    return {
        "number": record.number,
        "state": str(record.state),
        "mask": "".join(map(str, record.mask)),
        "parameters": ", ".join(f"{key.split('.')[-1]} {value}" for key, value in record.values.items()),
        "seconds": f"{record.seconds.get('total', 0):.0f}",
        "starts": record.attempts,
        "error": without_paths(record.error or "", known)[:300],
    }


def _front_figure(
    records: Sequence[TrialRecord], points: Sequence[FrontPoint], objectives: Sequence[str], best: FrontPoint | None
) -> bytes:
    x, y = objectives[0], objectives[-1]
    every = [p.measures for record in records for p in record.points if {x, y} <= set(p.measures)]
    shown = [p for p in points if {x, y} <= set(p.measures)]
    marks = [FrontMark(str(p.id), p.measures[x], p.measures[y], best is not None and p.id == best.id) for p in shown]
    is_rescored = bool(shown) and shown[0].is_rescored
    labels = [_with_direction(name, points, k) for name, k in ((x, 0), (y, len(objectives) - 1))]
    return front_plot([(m[x].value, m[y].value) for m in every], marks, labels, is_rescored)


def _with_direction(name: str, points: Sequence[FrontPoint], k: int) -> str:
    """Return what an axis is called: a reward that is the measure with its sign turned is better when it is lower."""
    known = [(point.rewards[k], point.measures[name].value) for point in points if name in point.measures]
    is_turned = any(abs(reward + value) < abs(reward - value) for reward, value in known)
    return f"{name} ({'lower' if is_turned or not known else 'higher'} is better)"


def _masks_figure(points: Sequence[FrontPoint], records: Sequence[TrialRecord], slots: Sequence[str]) -> bytes | None:
    by_number = {record.number: record for record in records}
    trials = list(dict.fromkeys(p.id.trial for p in sorted(points, key=lambda p: p.rewards)))
    if not trials or not slots:
        return None
    return masks_plot([f"trial {t}" for t in trials], np.array([by_number[t].mask for t in trials]), slots)


def _importance_figure(records: Sequence[TrialRecord], space: SearchSpace, objectives: Sequence[str]) -> bytes | None:
    """Plot what each slot changes, by the proposer's model; None with few trials."""
    known = [r for r in records if r.reported is not None]
    slots = space.slots
    if len(known) < 5 or not slots:
        return None
    bits = np.array([r.mask for r in known], dtype=float)
    units = np.array([r.units for r in known], dtype=float).reshape(len(known), -1)
    x, order = features(space, bits, units)
    losses = np.array([[loss_of(v) for v in r.reported["rewards"]] for r in known])  # type: ignore[index]
    singles = [PairwiseModel.fit(x, order, column).singles(len(slots)) for column in losses.T]
    return importance_plot(slots, objectives, [(-mean, spread) for mean, spread in singles])


def _named(parameter: Parameter) -> str:
    """Return what a parameter is called, and of which choice it is one."""
    of = [str(value) for values in parameter.when.values() for value in values]
    return parameter.key.split(".")[-1] + (f" ({', '.join(of)})" if len(of) == 1 else "")


def _parallel_figure(records: Sequence[TrialRecord], space: SearchSpace, objectives: Sequence[str]) -> bytes | None:
    known = [r for r in records if r.reported is not None]
    if len(known) < 3:
        return None
    units = np.array([r.units for r in known], dtype=float).reshape(len(known), -1)
    units = np.where(space.matters(units), units, np.nan)
    names = [_named(parameter) for parameter in space.parameters]
    rows = [
        [*own, sum(r.mask), *r.reported["rewards"]]  # type: ignore[index]
        for own, r in zip(units, known, strict=True)
    ]
    return parallel_plot([*names, "slots on", *(f"reward {n}" for n in objectives)], np.array(rows, dtype=np.float64))
