"""An append-only store of equal-sized arrays on disk, read through a memory map.

A store is a folder with two files: `data.bin` holds records and `keys.bin` their 32-byte keys in the same
order. A record counts once its key is complete, and keys are written after their records have reached the
disk, so a process that dies leaves a valid store. One writer at a time holds a file lock; readers need none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from memcontrol.errors import CacheError

__all__ = ["ArrayStore", "key_of"]

KEY_BYTES: Final = 32


def key_of(*parts: str) -> bytes:
    """Return the 32-byte key of what a record was computed from."""
    return hashlib.sha256("\x1f".join(parts).encode()).digest()


class ArrayStore:
    """Equal-sized arrays, found by key.

    Args:
        folder: Folder of the store; created with mode 0700.
        shape: Shape of one record.
        dtype: NumPy dtype of the records.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.folder = folder
        self.shape = shape
        self.dtype = np.dtype(dtype)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._positions: dict[bytes, int] = {}
        self._map: NDArray[np.generic] | None = None
        self.refresh()

    @property
    def record_bytes(self) -> int:
        """Size of one record on disk."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._positions)

    def refresh(self) -> None:
        """Learn of the records that others have added."""
        keys = self._read_keys()
        self._positions = {key: i for i, key in enumerate(keys)}
        self._map = None

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """Return the keys that have no record, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self._positions]

    def positions(self, keys: Iterable[bytes]) -> NDArray[np.int64]:
        """Return where the records of these keys lie.

        Raises:
            KeyError: If one is missing.
        """
        return np.array([self._positions[key] for key in keys], dtype=np.int64)

    def read(self, position: int | NDArray[np.int64]) -> NDArray[np.generic]:
        """Return a copy of one record, or of several with shape `(n, *shape)`."""
        if self._map is None:
            self.open()
        assert self._map is not None
        return np.array(self._map[position])

    def open(self) -> None:
        """Map the records; from then on they can be read even if the folder is removed.

        Raises:
            CacheError: If the store was emptied, or filled with others, since its keys were read.
        """
        if b"".join(self._read_keys()[: len(self)]) != b"".join(self._positions):
            raise CacheError(
                f"The cache in {self.folder} was emptied while this run needed it: another one has cleared it "
                "(`data.cache.clear`), or made room (`data.cache.max_gib`). Run again, or give each run a "
                "`data.cache.folder` of its own."
            )
        shape = (len(self), *self.shape)
        self._map = np.memmap(self.folder / "data.bin", dtype=self.dtype, mode="r", shape=shape) if len(self) else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer inside the block; what others wrote before is known in it."""
        with FileLock(self.folder / "lock"):
            self._cut_torn_tail()
            self.refresh()
            yield

    def append(self, keys: list[bytes], records: NDArray[np.generic]) -> None:
        """Add records; only inside `writing`.

        Args:
            keys: n keys of 32 bytes.
            records: Arrays with shape `(n, *shape)`.
        """
        self._write("data.bin", np.ascontiguousarray(records, dtype=self.dtype).tobytes())
        self._write("keys.bin", b"".join(keys))
        for key in keys:
            self._positions[key] = len(self._positions)
        self._map = None

    def _write(self, name: str, content: bytes) -> None:
        with (self.folder / name).open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _read_keys(self) -> list[bytes]:
        path = self.folder / "keys.bin"
        content = path.read_bytes() if path.is_file() else b""
        whole = len(content) // KEY_BYTES
        return [content[i * KEY_BYTES : (i + 1) * KEY_BYTES] for i in range(whole)]

    def _cut_torn_tail(self) -> None:
        whole = len(self._read_keys())
        for name, size in (("keys.bin", KEY_BYTES), ("data.bin", self.record_bytes)):
            path = self.folder / name
            if path.is_file() and path.stat().st_size > whole * size:
                os.truncate(path, whole * size)

    def __getstate__(self) -> dict[str, object]:
        """Leave the memory map behind when a worker process takes the store along."""
        return {**self.__dict__, "_map": None}
