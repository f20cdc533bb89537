"""Bring a source's rows into one form: texts for ids and captions, one row per image, patients and splits by name."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from memcontrol.data.identifiers import report_identifiers, without_identifiers
from memcontrol.data.splits import SPLITS, split_named
from memcontrol.data.tables import read_table, tidy
from memcontrol.errors import DataError

__all__ = ["excluded_patients", "named_splits", "tidied", "with_subjects", "without_identified", "without_patients"]

log = logging.getLogger("memcontrol")

QUOTED: Final = re.compile(r"'[=+\-@\t\r]")
"""How our sheets write what a spreadsheet would take for a formula."""


def tidied(table: pd.DataFrame) -> pd.DataFrame:
    """Return a source's rows with ids, labels, splits and captions as texts; the first of several is `text`."""
    table = table.reset_index(drop=True)
    captions = table["text"].map(_captions_of)
    texts = {name: tidy(table[name]) for name in ("subject_id", "label", "split") if name in table}
    table = table.assign(**texts, text=captions.map(lambda found: found[0]))
    if (captions.map(len) > 1).any() or table["path"].duplicated().any():
        table = _with_captions_together(table.assign(captions=captions))
    return table


def _with_captions_together(table: pd.DataFrame) -> pd.DataFrame:
    """Put rows that differ in their caption alone into one row of several captions."""
    others = [name for name in table.columns if name not in ("text", "captions")]
    if table.duplicated([*others, "text"]).any():  # the same row twice, which is a bad one
        return table if (table["captions"].map(len) > 1).any() else table.drop(columns="captions")
    together = table.groupby(others, sort=False, dropna=False, as_index=False).agg(
        text=("text", "first"), captions=("captions", lambda found: tuple(text for texts in found for text in texts))
    )
    several = (together["captions"].map(len) > 1).any()
    return together[[*table.columns]] if several else together[[c for c in table.columns if c != "captions"]]


def _captions_of(cell: Any) -> tuple[str, ...]:
    """Return the captions in a cell, at least one, which may be empty."""
    cells = list(cell) if isinstance(cell, list | tuple | np.ndarray) else [cell]
    found = tuple(text for text in tidy(pd.Series(cells, dtype=object)) if text)
    return found or ("",)


def named_splits(names: pd.Series) -> pd.Series:
    """Return the splits that names stand for.

    Raises:
        DataError: If a name stands for none.
    """
    known = {name: split_named(name) for name in names.unique()}
    unknown = sorted(name for name, split in known.items() if split is None)
    if unknown:
        counts = ", ".join(f"{name or '(blank)'} ({int((names == name).sum())} rows)" for name in unknown)
        raise DataError(
            f"The column of splits names {counts}. Known are {list(SPLITS)} and what these are usually called "
            "(training, val, validation, valid, dev, testing, ...). Rename them, leave the rows out with `data.where`, "
            "or leave the column out to split by patient."
        )
    return names.map(known)


def with_subjects(table: pd.DataFrame, each_image: bool) -> pd.DataFrame:
    """Return rows that name a patient each.

    Args:
        table: Rows, with or without the column subject_id.
        each_image: Whether each image is of another patient, where there is no such column.

    Raises:
        DataError: If the rows name no patient, and nobody said that each image is of another one.
    """
    if "subject_id" in table:
        return table
    if not each_image:
        raise DataError(
            "The rows name no subject (patient), so splits could share patients, and nothing could be said of leaks. "
            "Add a column `subject_id`, name yours (`data.subject_column`, or `data.columns.subject_id` of a prepared "
            "table), or say that each image is of another patient with `data.each_image_a_subject: true`."
        )
    return table.assign(subject_id=table["path"])


def without_identified(table: pd.DataFrame, how: str) -> pd.DataFrame:
    """Return the rows after captions that may identify patients were counted (`report`) or cut (`drop`)."""
    if how == "report":
        report_identifiers(table["captions"] if "captions" in table else table["text"].map(lambda text: (text,)))
        return table
    column = "captions" if "captions" in table else "text"
    if column == "captions":
        captions = table["captions"].map(lambda texts: tuple(t for t in map(without_identifiers, texts) if t) or ("",))
        cut = table.assign(captions=captions, text=captions.map(lambda texts: texts[0]))
    else:
        cut = table.assign(text=table["text"].map(without_identifiers))
    log.info("Of %d of %d rows, sentences that may say who a patient is are left out", *_changed(table, cut, column))
    return cut


def _changed(before: pd.DataFrame, after: pd.DataFrame, column: str) -> tuple[int, int]:
    """Return how many rows hold something else, and how many there are."""
    return sum(a != b for a, b in zip(before[column], after[column], strict=True)), len(after)


def without_patients(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """Return the rows without those of the patients that another table names.

    Args:
        table: Rows with the column subject_id.
        path: A csv with a column `patient` or `subject_id`.

    Raises:
        DataError: If it cannot be read, has neither column, or names none of these patients.
    """
    file = Path(path).expanduser()
    named = excluded_patients(file)
    theirs = table["subject_id"].isin(named)
    if not theirs.any():
        raise DataError(
            f"Argument `data.exclude` names {len(named)} patients in {path!r}, none of whom is among the "
            f"{table['subject_id'].nunique()} of the data. Is it a table of other data?"
        )
    found = table.loc[theirs, "subject_id"].nunique()
    log.info("%d images of %d patients are left out, as %s says", int(theirs.sum()), found, file.name)
    if found < len(named):
        log.warning("%d names in %s are of no patient that is used here", len(named) - found, file.name)
    return table[~theirs].reset_index(drop=True)


def excluded_patients(path: Path) -> set[str]:
    """Return the patients that a table names in a column `patient` or `subject_id`.

    Raises:
        DataError: If it cannot be read, or has neither.
    """
    table = read_table(path, "exclude")
    column = next((name for name in ("patient", "subject_id") if name in table), None)
    if column is None:
        raise DataError(
            f"Argument `exclude` names {str(path)!r}, which has the columns {list(table.columns)} and neither "
            "`patient` nor `subject_id`. Give an audit's leaking.csv, or a table with one of these."
        )
    names = {name for name in tidy(table[column]) if name}
    return names | {name[1:] for name in names if QUOTED.match(name)}
