"""Read tables of rows as people have them: csv, xlsx, parquet, json, jsonl."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import logging
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from memcontrol.data.spelling import nearest_name
from memcontrol.errors import DataError

__all__ = ["ROLES", "name_columns", "need_columns", "read_table", "tidy", "with_numbers"]

log = logging.getLogger("memcontrol")

MAX_BYTES: Final = 2 << 30
UNREADABLE: Final = (
    csv.Error,
    KeyError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What libraries raise for a file that is no table."""
DELIMITERS: Final = ",;\t|"
NUMBER: Final = r"-?((0|[1-9]\d{0,17})(\.\d*)?|\.\d+)([eE][-+]?\d+)?"
BLANKS: Final = ("", "na", "n/a", "nan", "null", "none")
"""What stands for no number in a column of numbers."""
EXACT: Final = 2**53
"""Largest whole number that a column with blanks holds exactly."""
SUFFIXES: Final = (".csv", ".csv.gz", ".tsv", ".xlsx", ".parquet", ".json", ".jsonl")
ROLES: Final[dict[str, tuple[str, ...]]] = {
    "path": ("file_name", "filename", "file", "path", "image", "image_path", "image_file", "img", "filepath"),
    "text": ("text", "caption", "captions", "prompt", "report", "description"),
    "subject_id": ("subject_id", "subject", "patient", "patient_id", "patientid"),
    "label": ("label", "labels", "finding", "diagnosis"),
    "split": ("split", "set", "partition", "subset"),
}
"""What a column may be called by its role, most usual first."""


def read_table(path: Path, argument: str) -> pd.DataFrame:
    """Read a table by its suffix, every cell as it stands there.

    A csv may be separated by comma, semicolon, tab or bar, and encoded as UTF-8, UTF-16 or cp1252. Its cells are texts:
    `007`, `1e5` and `NA` are no numbers here (see `with_numbers`). Spaces around names of columns are dropped.

    Args:
        path: A csv, csv.gz, tsv, xlsx, parquet, json or jsonl file.
        argument: Name of the argument that named the file, for messages.

    Returns:
        The table.

    Raises:
        DataError: If the file is missing, of another kind, unreadable, or empty, or names a column twice.
    """
    if not path.is_file():
        near = nearest_name(path)
        guess = f" Do you mean {near!r}?" if near else ""
        raise DataError(f"Argument `{argument}` names the table {str(path)!r}, which does not exist.{guess}")
    try:
        table = _read(path)
    except ImportError as error:
        raise DataError(f"Reading {path.suffix} needs an extra: pip install 'memcontrol[tables]'.") from error
    except UNREADABLE as error:
        raise DataError(
            f"Argument `{argument}` names {str(path)!r}, which is no such table ({type(error).__name__}: {error}). "
            "Open it in the program that wrote it, and save it again."
        ) from error
    if table is None:
        raise DataError(
            f"Argument `{argument}` must be one of {', '.join(SUFFIXES)}, but got {str(path)!r}. Save it as one of "
            "these."
        )
    if table.empty:
        raise DataError(f"Argument `{argument}` names {str(path)!r}, which has no rows.")
    table.columns = [str(name).strip().removeprefix("\ufeff") for name in table.columns]
    twice = sorted(set(table.columns[table.columns.duplicated()]))
    if twice:
        raise DataError(
            f"The table {str(path)!r} names the columns {twice} more than once. Rename or remove one of each."
        )
    return table


def with_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table to compare and join by: columns of numbers hold numbers.

    A column is one of numbers where each of its cells that is not blank is a number as one would write it; so `007` is
    a text, and a column that holds it is one of texts. `NA` and `None` are blank among numbers, and texts among texts.
    """
    return table.apply(_by_meaning)


def need_columns(table: pd.DataFrame, columns: Sequence[str], path: Path, argument: str | None = None) -> None:
    """Raise a DataError unless the table has these columns.

    Args:
        table: The table.
        columns: The columns.
        path: Its file, for the message.
        argument: The argument that names a column, for the message.
    """
    absent = [column for column in columns if column not in table.columns]
    if not absent:
        return
    near = {name: difflib.get_close_matches(name, map(str, table.columns), 1) for name in absent}
    guess = "".join(f" Is {name!r} the column {found[0]!r}?" for name, found in near.items() if found)
    option = f" Name them with `{argument}`." if argument else ""
    raise DataError(f"The table {str(path)!r} lacks the columns {absent}; it has {list(table.columns)}.{guess}{option}")


def name_columns(table: pd.DataFrame, asked: Mapping[str, str], path: Path, options: Mapping[str, str]) -> pd.DataFrame:
    """Add each column under the name of its role; it stays under its own, by which a filter may name it.

    A column is found by the name that was asked for, in any case; where that is the role's usual name and the table
    lacks it, by another usual name, and a line says so.

    Args:
        table: The table.
        asked: Name of the column of each role, by role (`path`, `text`, `subject_id`, `label`, `split`).
        path: Its file, for messages.
        options: The option that names the column of a role, by role.

    Returns:
        The table with a column of each role that it has.

    Raises:
        DataError: If there is no column of paths or of texts, if one that was asked for by another name than the usual
            one is missing, or if several columns could be meant.
    """
    named: dict[str, pd.Series] = {}
    for role, name in asked.items():
        found = _find_column(table, role, name, path, options[role])
        if found is not None:
            named[role] = table[found]
        elif role in ("path", "text") or name not in ROLES[role]:
            need_columns(table, [name], path, options[role])
    return table.assign(**named)


def tidy(values: pd.Series) -> pd.Series:
    """Return cells as texts: without spaces around them, and whole numbers without a decimal point."""
    return values.astype(object).map(_as_text)


def _find_column(table: pd.DataFrame, role: str, name: str, path: Path, option: str) -> str | None:
    if name in table.columns:
        return name
    folded: dict[str, list[str]] = {}
    for column in map(str, table.columns):
        folded.setdefault(_fold(column), []).append(column)
    names = [name, *ROLES[role]] if name in ROLES[role] else [name]
    found = list(dict.fromkeys(column for n in names for column in folded.get(_fold(n), ())))
    if len(found) > 1 and _fold(found[0]) != _fold(name):
        raise DataError(
            f"The table {str(path)!r} lacks the column {name!r}, and any of {found} could be meant. Say which with "
            f"`{option}`."
        )
    if not found:
        return None
    log.warning("%s: the column %r is taken for %r (name another one with `%s`)", path.name, found[0], name, option)
    return found[0]


def _fold(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _read(path: Path) -> pd.DataFrame | None:
    suffix = path.suffix.lower()
    if suffix == ".xlsx":
        return pd.read_excel(path, dtype=object, keep_default_na=False)
    if suffix == ".parquet":
        return pd.read_parquet(path)
    if suffix == ".jsonl":
        return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
    if suffix == ".json":
        return pd.read_json(path, dtype=False, convert_dates=False)
    if suffix in (".csv", ".tsv") or path.name.lower().endswith(".csv.gz"):
        return _read_csv(path)
    return None


def _read_csv(path: Path) -> pd.DataFrame:
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES >> 30} GiB")
    text = _decoded(content, path)
    header = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))
    if delimiter != "," and path.suffix.lower() != ".tsv":
        log.warning("%s is separated by %r", path.name, delimiter)
    names = next(csv.reader([header], delimiter=delimiter), [])
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows with more cells than the header has names
        try:
            table = pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                dtype=str,
                keep_default_na=False,
                header=0,
                skipinitialspace=True,
                index_col=False,
            )
        except (pd.errors.ParserWarning, pd.errors.ParserError) as error:
            raise ValueError(
                f"its rows do not have as many cells as its header has names ({error}). A text with {delimiter!r} in "
                "it must stand in quotation marks."
            ) from error
    if len(names) == len(table.columns):  # else pandas renames a column that is there twice
        table.columns = pd.Index([name.strip() for name in names])
    return table


def _decoded(content: bytes, path: Path) -> str:
    for encoding in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding != "utf-8-sig":
            log.warning("%s is no UTF-8 and is read as %s", path.name, encoding)
        return text
    raise ValueError("its text is neither UTF-8, UTF-16 nor cp1252")


def _by_meaning(values: pd.Series) -> pd.Series:
    """Turn a column of texts into one of numbers, if each of them is a number as one would write it."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if values.dtype != object and not pd.api.types.is_string_dtype(values):
        return values
    if not values.map(lambda cell: isinstance(cell, str)).all():
        return values.map(lambda cell: None if isinstance(cell, str) and not cell.strip() else cell).infer_objects()
    stripped = values.str.strip()
    filled = stripped[~stripped.str.casefold().isin(BLANKS)]
    if filled.empty:
        return stripped
    if filled.str.fullmatch("[Tt]rue|TRUE|[Ff]alse|FALSE").all() and len(filled) == len(stripped):
        return stripped.str.casefold() == "true"
    if not filled.str.fullmatch(NUMBER).all():
        return stripped
    numbers = pd.to_numeric(stripped.where(stripped.index.isin(filled.index), None))
    if numbers.hasnans and numbers.abs().max() > EXACT:  # ids, which a float would change
        return stripped
    return numbers


def _as_text(cell: Any) -> str:
    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
