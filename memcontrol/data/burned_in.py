"""Writing that is burned into pictures: a model learns it as it learns ribs, and draws names and dates.

A look with an OCR engine (tesseract), not de-identification: small, faint or slanted writing goes unread.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pandas as pd
from PIL import Image, ImageOps
from tqdm import tqdm

from memcontrol.data.identifiers import find_identifiers
from memcontrol.data.readers import ImageReader
from memcontrol.errors import DataError

__all__ = ["drop_burned_in", "find_burned_in", "kinds_of"]

log = logging.getLogger("memcontrol")

READ_AT: Final = 1024
"""Longest side in pixels at which pictures are read: smaller ones are enlarged, since engines miss small letters."""
SURE: Final = 60
"""Confidence in percent from which a word counts."""
MARKERS: Final = (
    *("ap", "pa", "lat", "lateral", "left", "right", "erect", "upright", "supine", "prone", "portable", "mobile"),
    *("sitting", "semi", "semierect", "inspiration", "expiration", "decubitus", "bed"),
)
"""Words that say how a picture was taken, and not of whom."""
OTHER: Final = "other words"
SHOWN: Final = 3
Words = list[tuple[str, float]]


def read_words(picture: Image.Image) -> Words:
    """Return what is written in a picture: words with the engine's confidence in percent.

    Raises:
        DataError: If the OCR engine is missing.
    """
    tesseract = _engine()
    scale = max(1.0, READ_AT / max(picture.size))
    gray = picture.convert("L").resize([round(side * scale) for side in picture.size], Image.Resampling.BICUBIC)
    words: Words = []
    for page in (gray, ImageOps.invert(gray)):  # engines expect dark letters, and films have light ones
        told = tesseract.image_to_data(page, config="--psm 11", output_type="dict")
        words += [(word, float(sure)) for word, sure in zip(told["text"], told["conf"], strict=True) if word.strip()]
    return words


def kinds_of(words: Words) -> list[str]:
    """Return the kinds of what is written that may identify somebody, beyond markers of side and position.

    Example:
        >>> kinds_of([("PORTABLE", 96.0), ("3/14/2021", 91.0), ("|", 99.0)])
        ['dates']
    """
    sure = [word for word, confidence in words if confidence >= SURE]
    kinds = find_identifiers(" ".join(sure))
    words_alone = [re.sub(r"\W", "", word).lower() for word in sure]
    if any(len(word) >= 3 and word.isalpha() and not _is_marker(word) for word in words_alone):
        kinds.append(OTHER)
    return kinds


def find_burned_in(table: pd.DataFrame, reader: ImageReader, ledger: Path | None) -> pd.Series:
    """Read each picture once.

    Args:
        table: Rows with the columns path and content.
        reader: Reads the images.
        ledger: SQLite file with what earlier looks found (kinds, never words), or None to read everything again.

    Returns:
        For each row, the kinds that were found, separated by commas; empty where there were none.

    Raises:
        DataError: If the OCR engine is missing.
    """
    _engine()
    with closing(sqlite3.connect(ledger or ":memory:", timeout=120)) as kept:
        with kept:
            kept.execute("CREATE TABLE IF NOT EXISTS burned_in (content TEXT PRIMARY KEY, kinds TEXT)")
        known: dict[str, str] = dict(kept.execute("SELECT content, kinds FROM burned_in"))
        unknown = table[~table["content"].isin(known)].drop_duplicates("content")
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the engine is a process of its own
            found = pool.map(lambda path: ", ".join(kinds_of(read_words(reader.read(path)))), unknown["path"])
            bar = tqdm(found, total=len(unknown), desc="reading what is written in pictures", unit="image", delay=2)
            for content, kinds in zip(unknown["content"], bar, strict=True):
                known[content] = kinds
                with kept:
                    kept.execute("INSERT OR REPLACE INTO burned_in VALUES (?, ?)", (content, kinds))
    return table["content"].map(known)


def drop_burned_in(table: pd.DataFrame, found: pd.Series, drop: bool) -> pd.DataFrame:
    """Say in how many pictures something is written, name the first few on a terminal, and leave them out if asked."""
    rows = table[found != ""]
    if rows.empty:
        return table
    counts = Counter(kind for kinds in found for kind in kinds.split(", ") if kind)
    log.warning(
        "%d of %d pictures have writing burned in (%s), which a model can learn and draw. %s",
        len(rows),
        len(table),
        ", ".join(f"{kind} in {count}" for kind, count in counts.items()),
        "They are left out" if drop else "Paint over it, or say `data.burned_in: drop` to leave these pictures out",
    )
    if sys.stderr.isatty():
        print(f"  Here alone: {', '.join(map(str, rows['path'].head(SHOWN)))}", file=sys.stderr)
    return table[found == ""].reset_index(drop=True) if drop else table


def _is_marker(word: str) -> bool:
    return any(word in marker for marker in MARKERS)  # a part of one too, since engines split words


def _engine() -> Any:
    try:
        import pytesseract
    except ImportError:
        pytesseract = None
    if pytesseract is None or shutil.which(pytesseract.pytesseract.tesseract_cmd) is None:
        raise DataError(
            "Argument `data.burned_in` needs an OCR engine: install `memcontrol[ocr]` and the program tesseract "
            "(Debian: `apt install tesseract-ocr`), or set it to `ignore`."
        )
    return pytesseract
