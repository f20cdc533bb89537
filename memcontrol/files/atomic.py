"""Write files whole or not at all: a kill leaves what was there before, or what is there after."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["finite", "replacing", "write_json", "write_text"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside the file to write to; what was written there takes the file's place at the end.

    Args:
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    yield partial
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with replacing(path) as partial:
        partial.write_text(text)


def write_json(path: Path, value: Any, indent: int | None = 2, **options: Any) -> None:
    """Write plain values as JSON; what is not finite becomes null, which JSON can hold.

    Args:
        path: The file.
        value: Plain values.
        indent: Spaces of each level, or None for one line.
        options: Further options of `json.dumps`.
    """
    write_text(path, json.dumps(finite(value), indent=indent, **options) + "\n")


def finite(value: Any) -> Any:
    """Replace numbers that are not finite by None, at any depth.

    Example:
        >>> finite({"a": [1.0, float("nan")]})
        {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
