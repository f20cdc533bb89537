"""Where the whole text of an error stays: in the log of its run, which only the owner reads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

from memcontrol.search.texts import without_paths

__all__ = ["LOG", "open_private", "shareable"]

LOG: Final = "trial.log"


def open_private(path: Path, mode: str = "a") -> IO[str]:
    """Open a file for writing that only the owner may read, also where it was there before."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags, 0o600)
        with contextlib.suppress(OSError):  # somebody else's, or a disk without modes
            os.fchmod(descriptor, 0o600)
        return descriptor

    return open(path, mode, opener=opener)


def shareable(error: str, folder: Path, known: Iterable[str]) -> str:
    """Keep the text of an error in a run's log, and return what may be published, which says where the whole is.

    Args:
        error: The text.
        folder: Run folder.
        known: Paths that it may not name, see `without_paths`.
    """
    with contextlib.suppress(OSError):  # a full disk may be the error
        folder.mkdir(parents=True, exist_ok=True)
        with open_private(folder / LOG) as file:
            file.write(f"\nFailed: {error}\n")
    return f"{without_paths(error, known)} (The whole text is in its {LOG}.)"
