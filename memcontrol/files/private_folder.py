"""A folder of the user's cache that nobody else can read or put something into."""

from __future__ import annotations

import os
from pathlib import Path

from memcontrol.errors import MemControlError

__all__ = ["keep_private"]


def keep_private(folder: Path, kind: type[MemControlError], what: str, way_out: str) -> None:
    """Make a folder for its owner alone, or refuse one that others could read or have put something into.

    Args:
        folder: The folder.
        kind: Error that is raised.
        what: What the folder is, as a sentence would begin: "Argument `cache.folder`".
        way_out: What to do where it is not the user's.

    Raises:
        MemControlError: Of that kind, if it cannot be made, belongs to somebody else, or is open to others.
    """
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise kind(
            f"{what} is {str(folder)!r}, which is no folder that can be used: {error.strerror}. {way_out}"
        ) from error
    if status.st_uid not in (os.getuid(), 0) or status.st_mode & 0o077:
        owner = "yours" if status.st_uid == os.getuid() else f"of the user {status.st_uid}"
        raise kind(
            f"{what} is {str(folder)!r}, which is {owner} and has the mode {status.st_mode & 0o777:o}: others could "
            f"read what patients' data was made into, or change it. Run `chmod 700 {folder}` if it is yours. {way_out}"
        )
