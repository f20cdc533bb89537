"""The report of a study: one HTML file that opens offline; no picture, prompt or id is in it, but links to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memcontrol.files.redaction import without_paths
from memcontrol.measures import Point
from memcontrol.measures.statistics.objective import loss_of
from memcontrol.reports.page import write_page
from memcontrol.reports.plots import Plot, as_json
from memcontrol.reports.study_plots import (
    cost_plot,
    front_plot,
    importance_plot,
    masks_plot,
    parallel_plot,
    volume_plot,
)
from memcontrol.search.bayes import PairwiseModel, features
from memcontrol.search.budget import budget_line
from memcontrol.search.explorer import Validation, axis_titles, explored, front_marks, validations_of
from memcontrol.search.front import FrontPoint, volume_over_trials
from memcontrol.search.options import Bounds
from memcontrol.search.records import PointId, TrialRecord, TrialState
from memcontrol.search.results import front_table
from memcontrol.search.space import Parameter, SearchSpace
from memcontrol.search.study import Study

__all__ = ["write_report"]

FILES = ("pareto.csv", "trials.csv", "best.yaml", "masks")
"""What else a study hands on, beside the report."""


def write_report(
    study: Study, records: Sequence[TrialRecord], points: Sequence[FrontPoint], best: FrontPoint | None
) -> Path:
    """Write `report.html`; a half-written one is never seen."""
    slots, objectives = study.space.slots, study.options.objectives
    validations = validations_of(records, points, objectives)
    plots = [
        _front_plot(records, validations, points, objectives, best),
        _masks_plot(points, records, slots),
        _importance_plot(records, study.space, objectives),
        volume_plot(volume_over_trials(records)) if points else None,
        _parallel_plot(records, study.space, objectives),
        _cost_plot(records),
    ]
    return write_page(
        study.folder / "report.html",
        "study.html",
        has_plots=any(plots),
        title="Study",
        picked=_picked(study, points, best),
        summary=_summary(study, records),
        budget=budget_line(study.trial(record.number) for record in records),
        front=_front(study, points, records),
        explored=as_json(explored(study, records, validations, points)) if points else None,
        files=[name for name in FILES if (study.folder / name).exists()],
        plots=[plot for plot in plots if plot is not None],
        trials=_trials(records, objectives, study.paths),
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
    why = _reason(study.options.pick, study.options.objectives)
    return f"Picked: trial {best.id.trial} at step {best.id.step}{scale}, {why}."


def _reason(how: str | Bounds, objectives: Sequence[str]) -> str:
    """Return why a point was picked."""
    if isinstance(how, Bounds):
        return f"the best of those with {how}"
    if how == "knee":
        return "the nearest to the best of all objectives, each scaled to its range on the front (knee)"
    return f"the best in {objectives[0] if how == 'memorization' else objectives[-1]} ({how})"


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
    scales = table["scale"] if "scale" in table else [1.0] * len(table)
    ids = [PointId(*which) for which in zip(table["trial"], table["step"], scales, strict=True)]
    return {"columns": columns, "rows": rows, "labels": [f"trial {point}" for point in ids]}


def _trials(records: Sequence[TrialRecord], objectives: Sequence[str], known: Sequence[str]) -> dict[str, Any]:
    """Return the table of trials, with what the proposer was told of each."""
    columns = ["trial", "state", "step", *objectives, "parameters", "mask", "s", "starts"]
    rows = []
    for record in records:
        told = _told(record)
        measured = [told.measures.get(name) if told else None for name in objectives]
        rows.append(
            {
                "number": record.number,
                "cells": [
                    record.number,
                    record.state.lower(),
                    told.step if told else "",
                    *(f"{value.value:.4g}" if value else "" for value in measured),
                    ", ".join(f"{key.split('.')[-1]} {value}" for key, value in record.values.items()),
                    "".join(map(str, record.mask)),
                    f"{record.seconds.get('total', 0):.0f}",
                    record.attempts,
                ],
                "error": without_paths(record.error or "", known)[:300],
            }
        )
    return {"columns": columns, "rows": rows}


def _told(record: TrialRecord) -> Point | None:
    """Return the validation that the proposer was told of; of a pruned trial, whose growth was added, the last one."""
    if record.reported is None:
        return None
    alike = [point for point in record.points if point.step == record.reported["step"]]
    return next((p for p in alike if list(p.rewards) == record.reported["rewards"]), alike[-1] if alike else None)


def _front_plot(
    records: Sequence[TrialRecord],
    validations: Sequence[Validation],
    points: Sequence[FrontPoint],
    objectives: Sequence[str],
    best: FrontPoint | None,
) -> Plot | None:
    """Plot the first objective against the last; None before there is a point."""
    x, y = objectives[0], objectives[-1]
    marks, titles = front_marks(records, validations, best, x, y), axis_titles(validations, objectives)
    return front_plot(marks, titles[x], titles[y], any(point.is_rescored for point in points)) if marks else None


def _cost_plot(records: Sequence[TrialRecord]) -> Plot | None:
    spent = {
        record.number: {name: value for name, value in record.seconds.items() if name != "total"}
        for record in records
        if record.seconds
    }
    return cost_plot(spent) if spent else None


def _masks_plot(points: Sequence[FrontPoint], records: Sequence[TrialRecord], slots: Sequence[str]) -> Plot | None:
    by_number = {record.number: record for record in records}
    trials = list(dict.fromkeys(p.id.trial for p in sorted(points, key=lambda p: p.rewards)))
    if not trials or not slots:
        return None
    return masks_plot([f"trial {t}" for t in trials], np.array([by_number[t].mask for t in trials]), slots)


def _importance_plot(records: Sequence[TrialRecord], space: SearchSpace, objectives: Sequence[str]) -> Plot | None:
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


def _parallel_plot(records: Sequence[TrialRecord], space: SearchSpace, objectives: Sequence[str]) -> Plot | None:
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
    columns = [*names, "slots on", *(f"reward {n}" for n in objectives)]
    return parallel_plot(columns, np.array(rows, dtype=np.float64), [record.number for record in known])
