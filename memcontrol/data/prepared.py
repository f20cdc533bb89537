"""A prepared table of paths and texts, as the paper's authors use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.filters import keep_where
from memcontrol.data.tables import name_columns, read_table, tidy
from memcontrol.errors import DataError

__all__ = ["PreparedTableDataModule"]


class PreparedTableDataModule(CaptionedImageDataModule):
    """Images listed in a csv, tsv, xlsx, parquet, json or jsonl table with the columns path and text.

    The columns subject_id, label and split are used where the table has them. Columns by other usual names are taken,
    with a word.

    Args:
        table: The table.
        image_root: Folder that relative paths start from; by default the table's.
        columns: Names of the columns where they are others, by role (`path`, `text`, `subject_id`, `label`, `split`).
        where: Which rows to keep, e.g. `view == "PA"`.
        kwargs: See `CaptionedImageDataModule`.
    """

    def __init__(
        self,
        table: str,
        image_root: str | None = None,
        columns: dict[str, str] | None = None,
        where: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        roles = ("path", "text", "subject_id", "label", "split")
        unknown = sorted(set(columns or {}) - set(roles))
        if unknown:
            raise DataError(f"Argument `columns` names the roles {unknown}, but must be of {list(roles)}.")
        self.columns = {role: role for role in roles} | (columns or {})
        self.table_path = Path(table).expanduser()
        self.image_root = Path(image_root).expanduser() if image_root else self.table_path.parent
        self.where = where

    def rows(self) -> pd.DataFrame:
        """Read the table."""
        table = read_table(self.table_path, "table")
        options = {role: f"data.columns.{role}" for role in self.columns}
        table = name_columns(table, self.columns, self.table_path, options)
        if self.where:
            table = keep_where(table, self.where)
        kept = [role for role in self.columns if role in table]
        return table[kept].assign(path=[str(self.image_root / path) for path in tidy(table["path"])])
