"""A folder of images with a metadata table, as Hugging Face's imagefolder."""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path
from typing import Any, Final

import pandas as pd
from PIL import Image

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.filters import keep_where
from memcontrol.data.splits import split_named
from memcontrol.data.tables import name_columns, read_table, tidy
from memcontrol.errors import DataError
from memcontrol.files import worker_cache

__all__ = ["ImageFolderDataModule"]

log = logging.getLogger("memcontrol")

TABLES: Final = tuple(f"metadata.{suffix}" for suffix in ("csv", "jsonl", "json", "parquet", "tsv", "xlsx"))
"""Names of a table beside the images, in the order in which they are looked for."""


class ImageFolderDataModule(CaptionedImageDataModule):
    """Images listed in `metadata.csv` (or jsonl, json, parquet, tsv, xlsx) of their folder, or of its subfolders.

    Tables of subfolders (`train/metadata.jsonl`) are put together; a subfolder named as a split is one, where the
    tables do not say. Columns by other usual names are taken, with a word.

    Args:
        root: The folder.
        text_column: Column of the captions, which may be lists of several.
        path_column: Column of the files, relative to the table's folder.
        subject_column: Column of the subjects (patients); without it, see `each_image_a_subject`.
        label_column: Column of the labels, if there is one.
        split_column: Column that names the split of each row, if there is one.
        where: Which rows to keep, e.g. `seen == 0`.
        outside: Whether names may lead out of the folder, by `..`, absolute paths or links: a table from elsewhere
            could name any file of this machine.
        kwargs: See `CaptionedImageDataModule`.
    """

    def __init__(
        self,
        root: str,
        text_column: str = "text",
        path_column: str = "file_name",
        subject_column: str = "subject_id",
        label_column: str = "label",
        split_column: str = "split",
        where: str | None = None,
        outside: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self.columns = {
            "path": path_column,
            "text": text_column,
            "subject_id": subject_column,
            "label": label_column,
            "split": split_column,
        }
        self.where = where
        self.outside = outside

    def rows(self) -> pd.DataFrame:
        """Read the tables beside the images."""
        if not self.root.is_dir():
            raise DataError(
                f"Argument `root` must be a folder of images, but {str(self.root)!r} does not exist. Give "
                "yours with `--data.root FOLDER`."
            )
        table = pd.concat([self._read(path) for path in self._tables()], ignore_index=True)
        # a worker goes through the folder in its first job only
        worker_cache.cached(("unlisted", str(self.root)), lambda: self._say_what_is_not_listed(table["path"]))
        if self.where:
            table = keep_where(table, self.where)
        if not self.outside:
            self._refuse_what_lies_outside(table["path"])
        return table[[role for role in self.columns if role in table]]

    def _tables(self) -> list[Path]:
        for folders in ([self.root], sorted(f for f in self.root.iterdir() if f.is_dir())):
            found = [path for folder in folders if (path := _table_in(folder)) is not None]
            if found:
                return found
        raise DataError(
            f"Argument `root` is {str(self.root)!r}, which has none of {', '.join(TABLES)}, and neither has a "
            "subfolder. Write one with the columns file_name, text and subject_id (the patient)."
        )

    def _read(self, path: Path) -> pd.DataFrame:
        table = read_table(path, "root")
        options = {role: f"data.{role.removesuffix('_id')}_column" for role in self.columns}
        table = name_columns(table, self.columns, path, options)
        split = split_named(path.parent.name) if path.parent != self.root else None
        if split is not None and "split" not in table:
            table = table.assign(split=split)
        files = tidy(table["path"])
        starts = [path.parent, self.root] if path.parent != self.root else [self.root]
        start = next((s for s in starts if any((s / name).is_file() for name in files.head(20))), starts[0])
        return table.assign(path=[str(start / name) for name in files])

    def _refuse_what_lies_outside(self, paths: pd.Series) -> None:
        """Raise a DataError if a name leads out of the folder."""
        root = os.path.realpath(self.root)
        parents = {parent: os.path.realpath(parent) for parent in {os.path.dirname(path) for path in paths}}
        real = (os.path.realpath(path) if os.path.islink(path) else parents[os.path.dirname(path)] for path in paths)
        outside = [path for path, found in zip(paths, real, strict=True) if os.path.commonpath([root, found]) != root]
        if outside:
            raise DataError(
                f"{len(outside)} of {len(paths)} names in the table of {str(self.root)!r} lead out of the folder, "
                f"first of all {outside[0]!r}. If that is meant, set `data.outside: true`."
            )

    def _say_what_is_not_listed(self, paths: pd.Series) -> None:
        """Say which images of the folder no row names; they are not used."""
        suffixes = set(Image.registered_extensions())
        listed = {_folded(path.replace("\\", "/").strip()) for path in paths}
        others = [
            os.path.join(folder, name)
            for folder, _, names in os.walk(self.root)
            for name in names
            if os.path.splitext(name)[1].lower() in suffixes and _folded(os.path.join(folder, name)) not in listed
        ]
        if others:
            log.warning(
                "%d images in %s are named by no row of its table and are not used, e.g. %s",
                len(others),
                self.root,
                os.path.relpath(others[0], self.root),
            )


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", os.path.normpath(path)).casefold()


def _table_in(folder: Path) -> Path | None:
    found = [path for path in map(folder.joinpath, TABLES) if path.is_file()]
    if len(found) > 1:
        log.warning("%s holds %s; the first is read", folder, ", ".join(path.name for path in found))
    return found[0] if found else None
