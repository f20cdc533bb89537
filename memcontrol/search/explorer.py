"""What a reader of a study's report can ask its front: what a bound would pick, and what stands behind a point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from memcontrol.files.run_folder import LOG, OVERLAY, REWARDS, SAMPLES
from memcontrol.measures import Point
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.reports.plots import plain
from memcontrol.reports.study_plots import Ends, Mark
from memcontrol.search.front import FrontPoint, pick
from memcontrol.search.options import Bounds
from memcontrol.search.points import directions_of
from memcontrol.search.records import PointId, TrialRecord
from memcontrol.search.study import Study

__all__ = ["Validation", "axis_titles", "explored", "front_marks", "validations_of"]

Validation = tuple[PointId, Point, bool]
"""Which point, what it measured (scored again where it was), and whether it is on the front."""


def validations_of(
    records: Sequence[TrialRecord], points: Sequence[FrontPoint], objectives: Sequence[str]
) -> list[Validation]:
    """Return all validations that have what is traded off, those of the front as they count there."""
    best = {point.id: point.point for point in points}
    every = [(PointId(record.number, p.step, p.scale), p) for record in records for p in record.points]
    found = [(key, best.get(key, point), key in best) for key, point in every]
    return [validation for validation in found if set(objectives) <= set(validation[1].measures)]


def front_marks(
    records: Sequence[TrialRecord], validations: Sequence[Validation], best: FrontPoint | None, x: str, y: str
) -> list[Mark]:
    """Return validations as they are plotted by two measures."""
    by_number = {record.number: record for record in records}
    return [
        Mark(
            str(key),
            _ends(point.measures[x]),
            _ends(point.measures[y]),
            is_front,
            best is not None and key == best.id,
            [
                f"trial {key}",
                *(f"{name} {_with_ends(value)}" for name, value in point.measures.items()),
                *(f"{name} {value}" for name, value in _about(by_number[key.trial])),
            ],
        )
        for key, point, is_front in validations
    ]


def explored(
    study: Study, records: Sequence[TrialRecord], validations: Sequence[Validation], points: Sequence[FrontPoint]
) -> dict[str, Any]:
    """Return what the page's script knows, as plain values.

    Returns:
        `points`, the validations in their order: label, trial and measures; `trials` by number: settings and files, by
        paths from the report; `measures` that axes can show, with what they say; `bounds`: for every bound on the first
        objective that changes the choice, which point `search.pick` would take.
    """
    objectives = study.options.objectives
    numbers = {key: number for number, (key, _, _) in enumerate(validations)}
    return {
        "points": [
            {
                "label": f"trial {key}",
                "trial": key.trial,
                "values": {name: _finite(value) for name, value in point.measures.items()},
            }
            for key, point, _ in validations
        ],
        "trials": {record.number: {"about": _about(record), "files": _files(study, record)} for record in records},
        "measures": {name: plain(title) for name, title in axis_titles(validations, objectives).items()},
        "objectives": [objectives[0], objectives[-1]],
        "bounds": _bounds(points, objectives, numbers),
    }


def axis_titles(validations: Sequence[Validation], objectives: Sequence[str]) -> dict[str, str]:
    """Return what an axis says of each measure: its name, and which end is better where that is known."""
    known = directions_of([point for _, point, _ in validations], objectives)
    names = dict.fromkeys([*objectives, *(name for _, point, _ in validations for name in point.measures)])
    return {n: f"{n} ({'higher' if known[n] else 'lower'} is better)" if n in known else n for n in names}


def _bounds(
    points: Sequence[FrontPoint], objectives: Sequence[str], numbers: Mapping[PointId, int]
) -> dict[str, Any] | None:
    """Return what each bound on the first objective would pick, from the strictest on."""
    name = objectives[0]
    if len(objectives) < 2 or not points:
        return None
    is_higher = directions_of([point.point for point in points], objectives)[name]
    values = sorted({point.measures[name].value for point in points}, reverse=is_higher)
    found = []
    for value in values:
        bounds = Bounds(at_least={name: value}) if is_higher else Bounds(at_most={name: value})
        chosen = pick(points, bounds, objectives)
        assert chosen is not None  # the point whose value it is lies within
        found.append([value, numbers[chosen.id]])
    return {"measure": name, "side": "at_least" if is_higher else "at_most", "choices": found}


def _about(record: TrialRecord) -> list[tuple[str, str]]:
    """Return a trial's settings as a reader sees them: keys without what all share."""
    mask = [("mask", "bits:" + "".join(map(str, record.mask)))] if record.mask else []
    return [*((key.removeprefix("model."), str(value)) for key, value in record.values.items()), *mask]


def _files(study: Study, record: TrialRecord) -> list[tuple[str, str]]:
    """Return what there is to look at of a trial: a name and a path from the report."""
    folder = study.trial(record.number)
    grids = sorted((folder / SAMPLES).glob("*.png"))
    named = [("samples", grid) for grid in grids[-1:]]
    named += [(name, folder / name) for name in (OVERLAY, REWARDS, LOG)]
    return [(name, path.relative_to(study.folder).as_posix()) for name, path in named if path.is_file()]


def _ends(value: Interval) -> Ends:
    """Return a value with its interval, which is a point where it has none."""
    low, high = (end if math.isfinite(end) else value.value for end in (value.low, value.high))
    return value.value, low, high


def _finite(value: Interval) -> Ends | None:
    return _ends(value) if math.isfinite(value.value) else None


def _with_ends(value: Interval) -> str:
    return f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"
