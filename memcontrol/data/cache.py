"""The cache of latents and text states, shared by all runs on a machine.

There is one store for each encoder, image size and precision, so nothing stale can be read: another
auto-encoder, transform or tokenizer is another store, and a changed image has another key.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from torch import Tensor
from tqdm import tqdm

from memcontrol.data.store import ArrayStore, key_of
from memcontrol.errors import CacheError
from memcontrol.files.private_folder import keep_private
from memcontrol.ranges import check_ranges

__all__ = ["VERDICTS", "CacheOptions", "clear_cache", "fill", "open_store"]

log = logging.getLogger(__name__)

GIB: Final = 1024**3
STORE_NAME: Final = re.compile(r"[a-z]+-[0-9a-f]{16}")
VERDICTS: Final = "verdicts.sqlite"


@dataclass(frozen=True)
class CacheOptions:
    """Where encoded images and texts are kept.

    Args:
        enabled: Whether images and texts are encoded once and kept on disk; if not, they are encoded anew
            in each step.
        folder: Folder of the cache; by default the user's cache folder. It holds private data and is
            created with mode 0700.
        max_gib: Bound on the whole folder, in GiB. Stores that have not been used for longest make room;
            if that is not enough, the run stops before training.
        dtype: Precision on disk.
        clear: Whether to empty the cache first.
    """

    enabled: bool = True
    folder: str | None = None
    max_gib: float = 200.0
    dtype: Literal["float16", "float32"] = "float16"
    clear: bool = False

    def __post_init__(self) -> None:
        """Check the bound."""
        check_ranges(CacheError, "cache", self, {"max_gib": "(0, inf)"})

    @property
    def path(self) -> Path:
        """The cache folder."""
        return Path(self.folder).expanduser() if self.folder else user_cache_path("memcontrol")


def open_store(options: CacheOptions, kind: str, digest: str, shape: tuple[int, ...]) -> ArrayStore:
    """Open the store of one encoder.

    Args:
        options: Where and how.
        kind: `latents` or `texts`.
        digest: Hex digest of all that the records depend on besides their keys.
        shape: Shape of one record.
    """
    name = f"{kind}-{key_of(digest, str(shape), options.dtype).hex()[:16]}"
    keep_private(options.path, CacheError, "Argument `cache.folder`", "Or name another folder.")
    store = ArrayStore(options.path / name, shape, options.dtype)
    os.utime(store.folder)
    return store


def clear_cache(options: CacheOptions) -> None:
    """Remove all stores and verdicts of the cache folder that no other run is writing."""
    for folder in _stores(options):
        _remove(folder)
    (options.path / VERDICTS).unlink(missing_ok=True)


def fill(
    store: ArrayStore,
    options: CacheOptions,
    keys: Sequence[bytes],
    encode: Callable[[list[int]], Tensor],
    batch_size: int,
    what: str,
) -> int:
    """Encode what the store does not hold yet.

    Args:
        store: The store.
        options: Bound of the folder.
        keys: Key of each item.
        encode: Maps item numbers to records with shape `(n, *store.shape)`.
        batch_size: Items encoded at once.
        what: Name of the items for messages.

    Returns:
        How many records were added.

    Raises:
        CacheError: If they do not fit under the bound or on the disk.
    """
    if not store.missing(keys):
        return 0
    with store.writing():
        item_of = {key: i for i, key in enumerate(keys)}
        missing = store.missing(keys)
        if not missing:
            return 0
        size = len(missing) * store.record_bytes
        log.info("Filling the cache with %d %s: %.3f GiB in %s", len(missing), what, size / GIB, store.folder)
        _make_room(store, options, size)
        starts = range(0, len(missing), batch_size)
        for start in tqdm(starts, desc=f"encoding {what}", unit="batch", delay=2):
            batch = missing[start : start + batch_size]
            records = encode([item_of[key] for key in batch]).detach().float().cpu().numpy()
            if not np.isfinite(records.astype(store.dtype)).all():
                raise CacheError(f"Encoded {what} hold values beyond {store.dtype}. Set `data.cache.dtype: float32`.")
            store.append(batch, records)
    return len(missing)


def _make_room(store: ArrayStore, options: CacheOptions, size: int) -> None:
    others = [folder for folder in _stores(options) if folder != store.folder]
    used = sum(map(_size_of, others)) + _size_of(store.folder)
    for folder in sorted(others, key=lambda f: f.stat().st_mtime):
        if used + size <= options.max_gib * GIB:
            break
        size_of_folder = _size_of(folder)
        used -= size_of_folder if _remove(folder) else 0
    if used + size > options.max_gib * GIB:
        raise CacheError(
            f"The cache in {options.path} needs {(used + size) / GIB:.2f} GiB, but `data.cache.max_gib` is "
            f"{options.max_gib}. Raise it, place the cache elsewhere with `data.cache.folder`, or switch it "
            "off with `data.cache.enabled: false` (each step then encodes its images)."
        )
    free = shutil.disk_usage(options.path).free
    if size > free:
        raise CacheError(
            f"The cache in {options.path} needs {size / GIB:.2f} GiB more, but the disk has "
            f"{free / GIB:.2f} GiB left. Place it elsewhere with `data.cache.folder`, or switch it off with "
            "`data.cache.enabled: false`."
        )


def _stores(options: CacheOptions) -> list[Path]:
    """Return the folders that this module made; nothing else in the cache folder is ever touched."""
    return sorted(f for f in options.path.glob("*-*") if f.is_dir() and STORE_NAME.fullmatch(f.name))


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file())


def _remove(folder: Path) -> bool:
    """Remove a store unless someone is writing to it; an open memory map stays readable."""
    try:
        with FileLock(folder / "lock", timeout=0):
            log.info("Removing %s from the cache", folder)
            shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        return False
    return True
