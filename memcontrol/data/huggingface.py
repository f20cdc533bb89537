"""What Hugging Face's `datasets` has saved to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from memcontrol.data.archives import ArrowReader, open_arrow
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.filters import chosen_rows
from memcontrol.data.splits import split_named
from memcontrol.errors import DataError

__all__ = ["HuggingFaceDataModule"]


class HuggingFaceDataModule(CaptionedImageDataModule):
    """Rows of a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote; images stay in its tables.

    The splits of a `DatasetDict` are taken where their names are those of splits and no column names one.

    Args:
        root: The folder. Nothing is fetched.
        image_column: Column of the images, which must be of the kind Image and hold their bytes.
        text_column: Column of the captions, which may be lists of several.
        subject_column: Column of the subjects (patients).
        label_column: Column of the labels, if there is one.
        split_column: Column that names the split of each row, if there is one.
        where: Which rows to keep, e.g. `view == "PA"`.
        kwargs: See `CaptionedImageDataModule`.
    """

    def __init__(
        self,
        root: str,
        image_column: str = "image",
        text_column: str = "text",
        subject_column: str = "subject_id",
        label_column: str = "label",
        split_column: str = "split",
        where: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self.image_column = image_column
        self.columns = {
            "path": "path",
            "text": text_column,
            "subject_id": subject_column,
            "label": label_column,
            "split": split_column,
        }
        self.where = where

    @property
    def reader(self) -> ArrowReader:
        """Reads cells of the tables."""
        return ArrowReader(str(self.root), column=self.image_column)

    def rows(self) -> pd.DataFrame:
        """Read all columns but the images."""
        if not self.root.is_dir():
            raise DataError(
                f"Argument `root` must be a folder that `datasets` has saved, but {str(self.root)!r} does not exist."
            )
        parts = []
        for name, table in open_arrow(str(self.root), self.image_column).items():
            part = table.remove_columns(self.image_column).to_pandas()
            part = part.assign(path=[f"{name}/{row}" if name else str(row) for row in range(len(table))])
            split = split_named(name)
            parts.append(part.assign(split=split) if split and self.columns["split"] not in part else part)
        return chosen_rows(pd.concat(parts, ignore_index=True), self.columns, self.root, self.where)
