"""Files that are their owner's alone: all that is written is made of patients' data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["private_files"]


@contextmanager
def private_files() -> Iterator[None]:
    """Make only such files inside the block (umask 077), as the command line does."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
