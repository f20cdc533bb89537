"""A study for other programs: all trials as csv, and a database that optuna-dashboard opens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
import yaml

from memcontrol.errors import SearchError
from memcontrol.files.atomic import replacing
from memcontrol.files.journal import JOURNAL, Journal
from memcontrol.files.sheet import write_sheet
from memcontrol.measures import Point
from memcontrol.plain import read_mapping
from memcontrol.search.options import SearchOptions
from memcontrol.search.points import directions_of
from memcontrol.search.records import TrialRecord, TrialState, read_trials
from memcontrol.search.study import RECORD

__all__ = ["TRIALS", "Form", "convert_study", "trials_table"]

Form = Literal["csv", "optuna"]

TRIALS: Final = "trials.csv"
DATABASE: Final = "optuna.db"
WIDE: Final = 20
"""Largest over smallest value of a number that is drawn on a linear axis."""


def trials_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return every point of every trial, one per row; a trial without points has a row of its own."""
    rows = []
    for record in records:
        about: dict[str, Any] = {
            "trial": record.number,
            "state": record.state.value,
            "mask": f"bits:{''.join(map(str, record.mask))}" if record.mask else "",
            **record.values,
            **{f"seconds/{name}": value for name, value in record.seconds.items()},
        }
        for point in record.points or (None,):
            rows.append({**about, **(_measured(point) if point is not None else {})})
    return pd.DataFrame(rows)


def _measured(point: Point) -> dict[str, Any]:
    found: dict[str, Any] = {"step": point.step, "scale": point.scale}
    for name, value in point.measures.items():
        found |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
    return found


def convert_study(folder: Path, to: Form, output: Path | None = None) -> Path:
    """Write a study in another form.

    Args:
        folder: Folder of a study, which may be running.
        to: `csv`, every point of every trial as a row; or `optuna`, a database (SQLite) for optuna-dashboard, in which
            every point is a trial with the objectives' values.
        output: File to write; by default `trials.csv` or `optuna.db` in the folder.

    Returns:
        The file.

    Raises:
        SearchError: If the folder holds no study, none of its trials was scored, or optuna is not installed.
    """
    folder = folder.expanduser()
    if not (folder / JOURNAL).is_file():
        raise SearchError(
            f"Argument `folder` is {str(folder)!r}, which holds no study (no {JOURNAL}). Name its folder."
        )
    records = read_trials(Journal(folder / JOURNAL))
    if not any(record.points for record in records):
        raise SearchError(f"No trial of the study in {str(folder)!r} has been scored yet. Come back when one has.")
    if to == "csv":
        output = output or folder / TRIALS
        with replacing(output) as partial:
            write_sheet(trials_table(records), partial)
        return output
    return _to_optuna(folder, records, output or folder / DATABASE)


def _to_optuna(folder: Path, records: Sequence[TrialRecord], output: Path) -> Path:
    try:
        import optuna
    except ImportError as error:
        raise SearchError("Writing a study for optuna needs an extra: pip install 'memcontrol[optuna]'.") from error
    objectives = _objectives(folder)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = folder.absolute().name
    distributions = _distributions(records, optuna.distributions)
    states = {TrialState.FAILED: optuna.trial.TrialState.FAIL, TrialState.RUNNING: optuna.trial.TrialState.RUNNING}
    higher = directions_of([point for record in records for point in record.points], objectives)
    directions = ["maximize" if higher[name] else "minimize" for name in objectives]
    with replacing(output) as partial:
        partial.unlink(missing_ok=True)
        study = optuna.create_study(storage=f"sqlite:///{partial.absolute()}", study_name=name, directions=directions)
        study.set_metric_names(objectives)
        for record in records:
            params = _params(record)
            about = {"params": params, "distributions": {key: distributions[key] for key in params}}
            for point in record.points:
                attributes = {
                    "trial": record.number,
                    "step": point.step,
                    "scale": point.scale,
                    "state": record.state.value,
                }
                values = [point.measures[objective].value for objective in objectives]
                study.add_trial(optuna.trial.create_trial(values=values, user_attrs=attributes, **about))
            if not record.points and record.state in states:
                attributes = {"trial": record.number, "error": record.error or ""}
                study.add_trial(optuna.trial.create_trial(state=states[record.state], user_attrs=attributes, **about))
        study._storage.remove_session()
    return output


def _objectives(folder: Path) -> list[str]:
    record = read_mapping(folder / RECORD, SearchError).get("search") or {}
    found = record.get("objectives") if isinstance(record, dict) else None
    return list(found) if isinstance(found, list) else SearchOptions().objectives


def _params(record: TrialRecord) -> dict[str, Any]:
    slots = {f"slot {number:02d}": bit for number, bit in enumerate(record.mask)}
    return {**record.values, **slots}


def _distributions(records: Sequence[TrialRecord], kinds: Any) -> dict[str, Any]:
    """Return the range of each parameter, as far as trials have been there."""
    values: dict[str, list[Any]] = {}
    for record in records:
        for key, value in _params(record).items():
            values.setdefault(key, []).append(value)
    return {key: _distribution(found, kinds) for key, found in values.items()}


def _distribution(values: list[Any], kinds: Any) -> Any:
    are_numbers = all(isinstance(value, float) for value in values)
    if are_numbers and len(set(values)) > 1:
        low, high = min(values), max(values)
        return kinds.FloatDistribution(low, high, log=low > 0 and high / low > WIDE)
    plain = [value if isinstance(value, str | int | float | bool) else yaml.safe_dump(value) for value in values]
    return kinds.CategoricalDistribution(sorted(set(plain), key=lambda value: (str(type(value)), value)))
