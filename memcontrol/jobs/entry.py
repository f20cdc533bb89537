"""An entry as text, so that a job can name what runs it without importing it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["load_entry"]


def load_entry(text: str) -> Any:
    """Return the function that a text such as `memcontrol.cli:main` names.

    Example:
        >>> load_entry("math:sqrt")(4)
        2.0
    """
    module, _, name = text.partition(":")
    return getattr(import_module(module), name)
