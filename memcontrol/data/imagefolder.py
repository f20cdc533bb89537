"""A folder of images with a metadata table, as Hugging Face's imagefolder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.filters import keep_where
from memcontrol.data.tables import need_columns, read_table
from memcontrol.errors import DataError

__all__ = ["ImageFolderDataModule"]


class ImageFolderDataModule(CaptionedImageDataModule):
    """Images listed in `metadata.csv` or `metadata.jsonl` of their folder.

    Args:
        root: The folder.
        text_column: Column of the captions.
        subject_column: Column of the subjects; if the table lacks it, each image counts as a subject.
        label_column: Column of the labels, if there is one.
        split_column: Column that names the split of each row, if there is one.
        where: Which rows to keep, e.g. `seen == 0`.
        kwargs: See `CaptionedImageDataModule`.
    """

    def __init__(
        self,
        root: str,
        text_column: str = "text",
        subject_column: str = "subject_id",
        label_column: str = "label",
        split_column: str = "split",
        where: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self.text_column = text_column
        self.columns = {subject_column: "subject_id", label_column: "label", split_column: "split"}
        self.where = where

    def rows(self) -> pd.DataFrame:
        """Read the table beside the images."""
        if not self.root.is_dir():
            raise DataError(
                f"Argument `root` must be a folder of images, but {str(self.root)!r} does not exist. Give "
                "yours with `--data.root FOLDER`."
            )
        path = next((p for p in map(self.root.joinpath, ("metadata.csv", "metadata.jsonl")) if p.is_file()), None)
        if path is None:
            raise DataError(
                f"Argument `root` is {str(self.root)!r}, which has neither metadata.csv nor metadata.jsonl "
                "(with the columns file_name and text)."
            )
        table = read_table(path, "root")
        need_columns(table, ["file_name", self.text_column], path)
        if self.where:
            table = keep_where(table, self.where)
        kept = {"file_name": "path", self.text_column: "text", **self.columns}
        table = table[[c for c in kept if c in table]].rename(columns=kept)
        return table.assign(path=[str(self.root / name) for name in table["path"]])
