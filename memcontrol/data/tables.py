"""Read tables of rows: csv, xlsx, parquet, jsonl."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from memcontrol.errors import DataError

__all__ = ["need_columns", "read_table"]


def read_table(path: Path, argument: str) -> pd.DataFrame:
    """Read a table by its suffix.

    Args:
        path: A csv, csv.gz, xlsx, parquet or jsonl file.
        argument: Name of the argument that named the file, for messages.

    Raises:
        DataError: If the file is missing, of another kind, unreadable, or empty.
    """
    if not path.is_file():
        raise DataError(f"Argument `{argument}` names the table {str(path)!r}, which does not exist.")
    try:
        if path.suffix == ".xlsx":
            table = pd.read_excel(path)
        elif path.suffix == ".parquet":
            table = pd.read_parquet(path)
        elif path.suffix == ".jsonl":
            table = pd.read_json(path, lines=True, dtype=False)
        elif path.name.endswith((".csv", ".csv.gz")):
            table = pd.read_csv(path, low_memory=False)
        else:
            raise DataError(
                f"Argument `{argument}` must be a csv, csv.gz, xlsx, parquet or jsonl file, but got {str(path)!r}."
            )
    except ImportError as error:
        raise DataError(f"Reading {path.suffix} needs an extra: pip install 'memcontrol[tables]'.") from error
    except (ValueError, OSError, pd.errors.ParserError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"Argument `{argument}` names {str(path)!r}, which is no such table: {error}") from error
    if table.empty:
        raise DataError(f"Argument `{argument}` names {str(path)!r}, which has no rows.")
    return table


def need_columns(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    """Raise a DataError unless the table has these columns."""
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise DataError(f"The table {str(path)!r} lacks the columns {absent}; it has {list(table.columns)}.")
