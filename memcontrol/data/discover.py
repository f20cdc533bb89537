"""What a folder is: which of our data modules reads it, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

import pandas as pd

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.dicom import is_dicom
from memcontrol.data.files import ImageFilesDataModule, Patients, image_files
from memcontrol.data.huggingface import HuggingFaceDataModule
from memcontrol.data.imagefolder import TABLES, ImageFolderDataModule
from memcontrol.data.mimic import SPLIT_FILE, MimicCxrDataModule
from memcontrol.data.prepared import PreparedTableDataModule
from memcontrol.data.tables import ROLES, SUFFIXES, read_table
from memcontrol.data.webdataset import WebDatasetDataModule
from memcontrol.errors import DataError
from memcontrol.plain import read_mapping

__all__ = ["Source", "discover"]

REPORTS: Final = ("mimic-cxr-reports.zip", "mimic_cxr_sectioned.csv", "mimic_cxr_sectioned.csv.gz", "reports")
NONE: Final = "none"
"""What stands for: each image is of another patient."""


@dataclass(frozen=True)
class Source:
    """What a folder was found to be.

    Args:
        said: What it is, in words.
        kind: The data module that reads it.
        options: Its options.
    """

    said: str
    kind: type[CaptionedImageDataModule]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def class_path(self) -> str:
        """The data module as a config names it."""
        return f"{self.kind.__module__}.{self.kind.__qualname__}"

    def with_options(self, **options: Any) -> Source:
        """Return this source with further options."""
        return Source(self.said, self.kind, {**self.options, **options})


def discover(root: Path, patients: str | None = None, caption: str | None = None, reports: str | None = None) -> Source:
    """Look at a folder.

    Args:
        root: The folder.
        patients: What says which patient an image is of: the column of a table, `folder`, `name` or `dicom` (see
            `ImageFilesDataModule`), or `none`, where each image is of another patient.
        caption: Caption of images that have none.
        reports: Reports of MIMIC-CXR, where they do not lie beside its images.

    Raises:
        DataError: If it is no folder, there is nothing in it that could be read, or nothing says the patients.
    """
    if not root.is_dir():
        raise DataError(f"Argument `folder` must be a folder of images, but {str(root)!r} is none.")
    for looks, found in KINDS:
        if looks(root):
            return found(root, patients, caption, reports)
    raise DataError(
        f"Argument `folder` is {str(root)!r}, in which there are no images, no table of images ({', '.join(TABLES)}), "
        "no tar shards and no dataset that `datasets` has saved. Name the folder that the images lie in."
    )


def _mimic(root: Path, patients: str | None, caption: str | None, reports: str | None) -> Source:
    near = [folder / name for folder in (root, root.parent, root.parent.parent) for name in REPORTS]
    near += sorted(root.parent.glob("mimic-cxr*/*/mimic-cxr-reports.zip"))
    found = reports or next((str(path) for path in near if path.exists()), None)
    if found is None:
        raise DataError(
            f"{str(root)!r} is MIMIC-CXR-JPG, whose reports are given apart: `mimic-cxr-reports.zip` of PhysioNet's "
            "MIMIC-CXR. Say where it is with `--reports FILE`."
        )
    return Source("MIMIC-CXR-JPG in its official layout", MimicCxrDataModule, {"root": str(root), "reports": found})


def _saved(root: Path, patients: str | None, caption: str | None, reports: str | None) -> Source:
    info = read_mapping(next(iter(_infos(root))), DataError)
    features = info.get("features") if isinstance(info.get("features"), dict) else {}
    assert features is not None
    images = [name for name, kind in features.items() if isinstance(kind, dict) and kind.get("_type") == "Image"]
    if not images:
        raise DataError(
            f"{str(root)!r} was saved by `datasets`, but has no column of the kind Image: {list(features)}."
        )
    options = {"root": str(root), "image_column": images[0]}
    source = Source("a dataset that Hugging Face's `datasets` has saved", HuggingFaceDataModule, options)
    return _with_patients(source, patients, pd.DataFrame(columns=list(features)), "subject_column")


def _shards(root: Path, patients: str | None, caption: str | None, reports: str | None) -> Source:
    number = len(list(root.glob("*.tar")))
    source = Source(f"{number} tar shards as webdataset has them", WebDatasetDataModule, {"root": str(root)})
    rows = WebDatasetDataModule(str(root))._samples(min(root.glob("*.tar")))
    return _with_patients(source, patients, pd.DataFrame(rows), "subject_column")


def _image_folder(root: Path, patients: str | None, caption: str | None, reports: str | None) -> Source:
    module = ImageFolderDataModule(str(root))
    table = next(iter(module._tables()))
    source = Source(f"images with {table.name}", ImageFolderDataModule, {"root": str(root)})
    return _with_patients(source, patients, read_table(table, "folder"), "subject_column")


def _table(root: Path, patients: str | None, caption: str | None, reports: str | None) -> Source:
    path = _tables(root)[0]
    source = Source(
        f"images that {path.name} names", PreparedTableDataModule, {"table": str(path), "image_root": str(root)}
    )
    return _with_patients(source, patients, read_table(path, "folder"), "columns.subject_id")


def _files(root: Path, patients: str | None, caption: str | None, reports: str | None) -> Source:
    names = list(image_files(root))
    dicoms = sum(is_dicom(root / name) for name in names[:100])
    is_dicom_folder = dicoms > min(len(names), 100) / 2
    said = f"{len(names)} {'DICOM' if is_dicom_folder else 'image'} files without a table"
    options = {"root": str(root), **({"caption": caption} if caption else {})}
    chosen = patients or ("dicom" if is_dicom_folder else None)
    if chosen is None:
        some = ", ".join(map(repr, names[:3]))
        raise DataError(
            f"{str(root)!r} holds {said}, and nothing says which patient an image is of, without which splits would "
            "share patients, and nothing could be said of leaks. Add `--patients folder` (each patient has a folder), "
            "`--patients name` (names begin with the patient, up to the first mark), or `--patients none` (each image "
            f"is of another patient). The first names are {some}."
        )
    if chosen == NONE:
        return Source(said, ImageFilesDataModule, {**options, "each_image_a_subject": True})
    if chosen not in get_args(Patients):
        raise DataError(f"Argument `patients` must be one of {[*get_args(Patients), NONE]} here, but got {chosen!r}.")
    return Source(said, ImageFilesDataModule, {**options, "patients": chosen})


def _with_patients(source: Source, patients: str | None, table: pd.DataFrame, option: str) -> Source:
    """Return a source with the column of its patients, as far as it is not the usual one."""
    columns = list(map(str, table.columns))
    if patients == NONE:
        return source.with_options(each_image_a_subject=True)
    if patients is not None:
        if patients not in columns:
            raise DataError(f"Argument `patients` is {patients!r}, but the table has the columns {columns}.")
        name, _, role = option.partition(".")
        return source.with_options(**{name: {role: patients} if role else patients})
    if any(column.strip().casefold().replace(" ", "_") in ROLES["subject_id"] for column in columns):
        return source
    repeated = [
        f"{column!r} ({table[column].astype(str).nunique()} values)"
        for column in table.columns
        if 1 < table[column].astype(str).nunique() < 0.95 * len(table)
    ]
    raise DataError(
        f"The rows ({source.said}) name no patient, without whom splits would share patients, and nothing could be "
        f"said of leaks. They have the columns {columns}"
        + (f", of which {', '.join(repeated)} name several rows alike" if repeated else "")
        + ". Say which one is the patient with `--patients COLUMN`, or that each image is of another patient with "
        "`--patients none`."
    )


def _tables(root: Path) -> list[Path]:
    """Return the tables of a folder that have a column of files and one of captions."""
    found = []
    for path in sorted(p for p in root.iterdir() if p.is_file() and p.name.lower().endswith(SUFFIXES)):
        try:
            columns = {str(c).strip().casefold().replace(" ", "_") for c in read_table(path, "folder").columns}
        except DataError:
            continue
        if columns & set(ROLES["path"]) and columns & set(ROLES["text"]):
            found.append(path)
    return found


def _infos(root: Path) -> list[Path]:
    """Return what `datasets` tells of its tables, where a folder was saved by it."""
    return [
        folder / "dataset_info.json"
        for folder in (root, *sorted(folder for folder in root.iterdir() if folder.is_dir()))
        if (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    ]


def _has_table(root: Path) -> bool:
    folders = [root, *sorted(folder for folder in root.iterdir() if folder.is_dir())]
    return any((folder / name).is_file() for folder in folders for name in TABLES)


KINDS: Final[list[tuple[Callable[[Path], Any], Callable[..., Source]]]] = [
    (lambda root: (root / SPLIT_FILE).is_file() or (root / SPLIT_FILE.removesuffix(".gz")).is_file(), _mimic),
    (lambda root: _infos(root), _saved),
    (lambda root: any(root.glob("*.tar")), _shards),
    (_has_table, _image_folder),
    (_tables, _table),
    (lambda root: next(image_files(root), None), _files),
]
"""How each kind of folder is known, and what is made of it; the first that fits is taken."""
