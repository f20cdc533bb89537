"""A folder of images without a table: captions in text files beside them, patients by folder, name or header."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
import regex
from tqdm import tqdm

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.dicom import is_dicom, patient_digest
from memcontrol.data.filters import keep_where
from memcontrol.data.splits import split_named
from memcontrol.errors import DataError
from memcontrol.files import worker_cache

__all__ = ["ImageFilesDataModule", "Patients", "image_files"]

Patients = Literal["folder", "name", "dicom"]

SUFFIXES: Final = (
    ".bmp", ".dcm", ".dicom", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Of images; a DICOM file may have none."""
CAPTIONS: Final = (".txt", ".caption")
LONGEST: Final = 1 << 20
"""Bytes of a text file that is a caption."""
NAME: Final = regex.compile(r"[^\W_]+")
"""What the name of a file begins with."""


class ImageFilesDataModule(CaptionedImageDataModule):
    """All images below a folder, with captions in text files of the same name (`1.jpg`, `1.txt`).

    A first folder named as a split (`train/`) is one.

    Args:
        root: The folder.
        patients: What says which patient an image is of: the `folder` that it lies in (the first one below `root`, or
            below that of a split), what its `name` begins with (`p10_1.png`: `p10`), or the `dicom` header, of which
            only a digest of the patient's number is kept. Without it, see `each_image_a_subject`.
        caption: Caption of images that have no text file; by default they are bad rows.
        where: Which rows to keep, by `path` (as relative to the folder), `text`, `subject_id` and `split`.
        kwargs: See `CaptionedImageDataModule`.
    """

    def __init__(
        self,
        root: str,
        patients: Patients | None = None,
        caption: str | None = None,
        where: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self.patients = patients
        self.caption = caption
        self.where = where

    def rows(self) -> pd.DataFrame:
        """List the images, and read what stands beside them."""
        if not self.root.is_dir():
            raise DataError(
                f"Argument `root` must be a folder of images, but {str(self.root)!r} does not exist. Give yours with "
                "`--data.root FOLDER`."
            )
        # a worker goes through the folder in its first job only
        key = ("files", str(self.root), self.patients, self.caption)
        table = worker_cache.cached(key, self._listed)
        if table["split"].isna().any():
            table = table.drop(columns="split")
        if self.patients is None:
            table = table.drop(columns="subject_id")
        if self.where:
            table = keep_where(table, self.where)
        return table.assign(path=[str(self.root / name) for name in table["path"]])

    def _listed(self) -> pd.DataFrame:
        names = sorted(image_files(self.root))
        if not names:
            raise DataError(
                f"Argument `root` is {str(self.root)!r}, which has no images in it ({', '.join(SUFFIXES)})."
            )
        with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
            found = pool.map(self._row, names, chunksize=64)
            return pd.DataFrame(list(tqdm(found, total=len(names), desc="listing", unit="image", delay=5)))

    def _row(self, name: str) -> dict[str, Any]:
        parts = Path(name).parts
        split = split_named(parts[0]) if len(parts) > 1 else None
        below = parts[1:] if split else parts
        return {"path": name, "text": self._caption(name), "subject_id": self._patient(name, below), "split": split}

    def _caption(self, name: str) -> str:
        for suffix in CAPTIONS:
            file = (self.root / name).with_suffix(suffix)
            if file.is_file() and not file.is_symlink() and file.stat().st_size <= LONGEST:
                return file.read_text(encoding="utf-8", errors="replace").strip().removeprefix("\ufeff")
        return self.caption or ""

    def _patient(self, name: str, below: tuple[str, ...]) -> str:
        """Return who an image is of; empty where nothing says, which is a bad row."""
        if self.patients == "folder":
            return below[0] if len(below) > 1 else ""
        if self.patients == "name":
            found = NAME.match(below[-1])
            return found[0] if found else ""
        if self.patients == "dicom":
            try:
                path = self.root / name
                return patient_digest(path) if is_dicom(path) else ""
            except OSError:
                return ""
        return ""


def image_files(root: Path) -> Iterator[str]:
    """Return the names of all images below a folder, relative to it; hidden files and folders are left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = os.path.join(folder, name)
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith(".") or os.path.islink(path):
                continue
            if suffix in SUFFIXES or (suffix in ("", ".ima") and _looks_like_dicom(path)):
                yield os.path.relpath(path, root)


def _looks_like_dicom(path: str) -> bool:
    try:
        return os.path.isfile(path) and is_dicom(path)
    except OSError:
        return False
