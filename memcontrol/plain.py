"""Plain values in text files, JSON and YAML: read once, with one error for whatever can be wrong with the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

from memcontrol.errors import MemControlError

__all__ = ["read_mapping", "read_plain", "read_text"]

MAX_BYTES: Final = 64 << 20


def read_text(path: Path, kind: type[MemControlError]) -> str:
    """Read a text file that somebody else may have written.

    Args:
        path: A file.
        kind: Error that is raised.

    Raises:
        MemControlError: Of that kind, if it is no regular file, is larger than 64 MiB, cannot be read, or is no UTF-8.
    """
    try:
        if not path.is_file():
            wrong = "is no regular file" if path.exists() else "does not exist"
            raise kind(f"{str(path)!r} {wrong}. Check its name.")
        if path.stat().st_size > MAX_BYTES:
            raise kind(
                f"{str(path)!r} has {path.stat().st_size >> 20} MiB; allowed are {MAX_BYTES >> 20}. Is it another file?"
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise kind(f"{str(path)!r} is no text in UTF-8 (byte {error.start}). Give the file that was meant.") from error
    except OSError as error:
        raise kind(f"{str(path)!r} cannot be read: {error.strerror}. Check its name and permissions.") from error


def read_plain(path: Path, kind: type[MemControlError]) -> Any:
    """Read a JSON or YAML file, by its suffix.

    Args:
        path: A file.
        kind: Error that is raised.

    Raises:
        MemControlError: Of that kind, if it cannot be read or is damaged.
    """
    text = read_text(path, kind)
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise kind(
            f"{str(path)!r} is no {'JSON' if path.suffix == '.json' else 'YAML'}: {_line(error)}. It is damaged, or "
            "another file was meant."
        ) from error


def read_mapping(path: Path, kind: type[MemControlError]) -> dict[str, Any]:
    """Read a JSON or YAML file that holds names with values.

    Args:
        path: A file; an empty one holds none.
        kind: Error that is raised.

    Raises:
        MemControlError: Of that kind, if it cannot be read, is damaged, or holds something else.
    """
    content = read_plain(path, kind)
    if content is not None and not isinstance(content, dict):
        raise kind(f"{str(path)!r} holds a {type(content).__name__} where names with values are expected.")
    return content or {}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
