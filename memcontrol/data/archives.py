"""Images that are no files of their own: members of tar shards, and rows of Arrow tables on disk."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

from PIL import Image

from memcontrol.data.readers import ImageReader, Levels, Look, look_at, read_image
from memcontrol.errors import DataError
from memcontrol.plain import read_mapping

__all__ = ["ArrowReader", "BytesReader", "TarReader", "members_of", "open_arrow"]

R = TypeVar("R", bound="BytesReader")

LARGEST: Final = 1 << 30
"""Bytes of a member that an image can have."""


@dataclass(frozen=True)
class BytesReader(ImageReader):
    """Reads images from what holds their bytes.

    Args:
        root: Folder of the archives or tables; names of images start there.
        levels: Levels of images deeper than 8 bits; by default each image has its own.
    """

    root: str
    levels: Levels | None = None

    @abstractmethod
    def bytes_of(self, path: str) -> bytes:
        """Return the bytes of an image's file.

        Raises:
            FileNotFoundError: If there is none.
        """

    def content(self, path: str) -> str:
        """Return the SHA-256 of the bytes."""
        return hashlib.sha256(self.bytes_of(path)).hexdigest()

    def read(self, path: str) -> Image.Image:
        """Decode the bytes."""
        return read_image(self.bytes_of(path), self.levels)

    def look(self, path: str) -> Look:
        """Decode the bytes once."""
        held = self.bytes_of(path)
        look = look_at(held)
        return look if look.problem else replace(look, content=hashlib.sha256(held).hexdigest())

    def with_levels(self: R, levels: Levels | None) -> R:
        """Return a reader for these levels."""
        return replace(self, levels=levels)

    def describe(self) -> str:
        """Return the levels."""
        return f"levels={self.levels}" if self.levels is not None else ""


@lru_cache(maxsize=4096)
def members_of(shard: str, size: int, changed: int) -> dict[str, tuple[int, int]]:
    """Return where the files of a tar archive begin and how long they are, by name.

    Args:
        shard: The archive, not compressed.
        size: Its size in bytes.
        changed: When it was changed, in nanoseconds: one that has changed is read anew.

    Raises:
        DataError: If it is no such archive.
    """
    try:
        with tarfile.open(shard, "r:") as file:
            return {member.name: (member.offset_data, member.size) for member in file if member.isfile()}
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{shard!r} is no tar archive that can be read in any order: {error}. Shards must not be compressed."
        ) from error


def shard_members(shard: Path) -> dict[str, tuple[int, int]]:
    """Return `members_of` a shard as it is now.

    Raises:
        DataError: If it is no such archive, or no file.
    """
    status = shard.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{str(shard)!r} is no file (but a pipe, a folder or a device), and so no shard. Remove it.")
    return members_of(str(shard), status.st_size, status.st_mtime_ns)


class TarReader(BytesReader):
    """Reads members of tar shards, named as `train-0000.tar/patient7_2.jpg`."""

    def stamp(self, path: str) -> str:
        """Return place and length in the shard, and the shard's size and time of change."""
        shard, member = self._parts(path)
        status = shard.stat()
        return f"{status.st_size}:{status.st_mtime_ns}:{shard_members(shard)[member]}"

    def bytes_of(self, path: str) -> bytes:
        """Read one member."""
        shard, member = self._parts(path)
        offset, size = shard_members(shard)[member]
        if size > LARGEST:
            raise OSError(f"{path} has {size >> 20} MiB")
        with shard.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def _parts(self, path: str) -> tuple[Path, str]:
        name, _, member = path.partition(".tar/")
        shard = Path(self.root) / f"{name}.tar"
        if not shard.is_file() or member not in shard_members(shard):
            raise FileNotFoundError(path)
        return shard, member


@lru_cache(maxsize=8)
def open_arrow(root: str, column: str) -> dict[str, Any]:
    """Open what `datasets` has saved to disk, with its images as bytes.

    Args:
        root: Folder that `save_to_disk` wrote.
        column: Column of the images.

    Returns:
        The tables by the name of their split; `""` where there are no splits.

    Raises:
        DataError: If `datasets` is not installed, the folder is another, or the column is missing or no image.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError("Reading Hugging Face datasets needs an extra: pip install 'memcontrol[datasets]'.") from error
    _refuse_odd_files(Path(root))
    try:
        found = datasets.load_from_disk(root)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"Argument `root` is {root!r}, which is no folder that `datasets` has written by `save_to_disk`: {error}"
        ) from error
    tables = dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}
    tables = {name: table.with_format(None) for name, table in tables.items()}
    home = os.path.realpath(root)
    files = [os.path.realpath(file["filename"]) for table in tables.values() for file in table.cache_files]
    outside = [file for file in files if os.path.commonpath([home, file]) != home]
    if outside:
        raise DataError(f"Argument `root` is {root!r}, whose tables lie elsewhere, first of all in {outside[0]!r}.")
    for name, table in tables.items():
        feature = table.features.get(column)
        if not isinstance(feature, datasets.Image):
            raise DataError(
                f"Argument `image_column` is {column!r}, but the split {name!r} has {table.features}. Name a column of "
                "the kind Image."
            )
    return {name: table.cast_column(column, datasets.Image(decode=False)) for name, table in tables.items()}


def _refuse_odd_files(root: Path) -> None:
    """Refuse what would be opened though it is no file, or lies elsewhere, before `datasets` opens it."""
    for path in root.rglob("*"):
        if path.exists() and not path.is_dir() and not path.is_file():
            raise DataError(f"Argument `root` is {str(root)!r}, in which {path.name!r} is no file. Remove it.")
    for state in (root / "state.json", *root.glob("*/state.json")):
        named = read_mapping(state, DataError).get("_data_files") if state.is_file() else None
        for file in named if isinstance(named, list) else []:
            name = file.get("filename") if isinstance(file, dict) else file
            if not isinstance(name, str) or Path(name).name != name:
                raise DataError(
                    f"Argument `root` is {str(root)!r}, whose tables lie elsewhere: its {state.name} names {name!r}, "
                    "which is no file beside it."
                )


@dataclass(frozen=True)
class ArrowReader(BytesReader):
    """Reads rows of tables that `datasets` has saved, named as `train/17`.

    Args:
        root: Folder that `save_to_disk` wrote.
        levels: Levels of images deeper than 8 bits.
        column: Column of the images.
    """

    column: str = "image"

    def stamp(self, path: str) -> str:
        """Return the table's own fingerprint, which changes with it."""
        table, row = self._row(path)
        return f"{table._fingerprint}:{row}"

    def bytes_of(self, path: str) -> bytes:
        """Return the bytes in a row's cell; a cell that names a file elsewhere is not followed."""
        table, row = self._row(path)
        cell = table[row][self.column] or {}
        if not isinstance(cell.get("bytes"), bytes):
            raise OSError(f"row {path} holds no image, but the name of a file")
        held: bytes = cell["bytes"]
        return held

    def _row(self, path: str) -> tuple[Any, int]:
        split, _, row = path.rpartition("/")
        tables = open_arrow(self.root, self.column)
        if split not in tables or not row.isdecimal() or int(row) >= len(tables[split]):
            raise FileNotFoundError(path)
        return tables[split], int(row)


def grouped(members: Iterator[str] | list[str]) -> dict[str, dict[str, str]]:
    """Group the members of a shard by their key, as webdataset does.

    Args:
        members: Names, such as `a/0001.jpg` and `a/0001.txt`.

    Returns:
        For each key (the name up to the first dot of its last part), the member of each suffix, in lower case.

    Example:
        >>> grouped(["a/1.jpg", "a/1.TXT"])
        {'a/1': {'jpg': 'a/1.jpg', 'txt': 'a/1.TXT'}}
    """
    found: dict[str, dict[str, str]] = {}
    for name in members:
        folder, slash, last = name.rpartition("/")
        key, dot, suffix = last.partition(".")
        if dot and key:
            found.setdefault(f"{folder}{slash}{key}", {})[suffix.lower()] = name
    return found
