"""A prepared table of paths and texts, as the paper's authors use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.filters import keep_where
from memcontrol.data.tables import need_columns, read_table

__all__ = ["PreparedTableDataModule"]


class PreparedTableDataModule(CaptionedImageDataModule):
    """Images listed in a csv, xlsx, parquet or jsonl table with the columns path and text.

    The columns subject_id, label and split are used where the table has them.

    Args:
        table: The table.
        image_root: Folder that relative paths start from; by default the table's.
        where: Which rows to keep, e.g. `view == "PA"`.
        kwargs: See `CaptionedImageDataModule`.
    """

    def __init__(self, table: str, image_root: str | None = None, where: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table_path = Path(table).expanduser()
        self.image_root = Path(image_root).expanduser() if image_root else self.table_path.parent
        self.where = where

    def rows(self) -> pd.DataFrame:
        """Read the table."""
        table = read_table(self.table_path, "table")
        need_columns(table, ["path", "text"], self.table_path)
        if self.where:
            table = keep_where(table, self.where)
        kept = [c for c in ("path", "text", "subject_id", "label", "split") if c in table]
        return table[kept].assign(path=[str(self.image_root / str(path)) for path in table["path"]])
