"""Find files whose names are spelled otherwise on disk than in a table."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

__all__ = ["nearest_name", "respelled"]


def respelled(paths: Iterable[str]) -> dict[str, str]:
    """Find what missing paths mean: other case, backslashes, spaces at an end, or accents encoded another way.

    Args:
        paths: Paths that do not exist.

    Returns:
        The file on disk, by the path that means it; paths that mean none, or several, are absent.
    """
    listings: dict[Path, dict[str, list[str]]] = {}
    found = {path: _respelled(path, listings) for path in paths}
    return {path: file for path, file in found.items() if file is not None}


def nearest_name(path: Path) -> str | None:
    """Return the name in a missing file's folder that is most like its own, if one is."""
    if not path.parent.is_dir():
        return None
    near = difflib.get_close_matches(path.name, os.listdir(path.parent), 1, cutoff=0.7)
    return near[0] if near else None


def _respelled(path: str, listings: dict[Path, dict[str, list[str]]]) -> str | None:
    try:
        return _walked(Path(path.replace("\\", "/")).parts, listings)
    except (OSError, ValueError):  # no name that a file can have
        return None


def _walked(parts: tuple[str, ...], listings: dict[Path, dict[str, list[str]]]) -> str | None:
    if not parts:
        return None
    here = Path(parts[0])
    for part in parts[1:]:
        there = here / part
        if not there.exists():
            if here not in listings:
                listings[here] = _listed(here)
            names = listings[here].get(_folded(part), [])
            if len(names) != 1:
                return None
            there = here / names[0]
        here = there
    return str(here) if here.is_file() else None


def _listed(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in os.listdir(folder) if folder.is_dir() else ():
        found.setdefault(_folded(name), []).append(name)
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()
