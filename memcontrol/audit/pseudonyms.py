"""Names that a report may show in place of a patient's."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

__all__ = ["pseudonym"]

KEY: Final = secrets.token_bytes(16)
"""Forgotten with the process: ids of eight digits could be guessed otherwise."""


def pseudonym(text: str) -> str:
    """Return eight hex digits, the same for the same text within one process only."""
    return hashlib.blake2b(text.encode(), key=KEY, digest_size=4).hexdigest()
