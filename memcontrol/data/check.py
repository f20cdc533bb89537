"""Check all rows before the first step, in parallel, and remember the verdicts."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

import pandas as pd
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from memcontrol.data.images import ImageReader
from memcontrol.errors import DataError

__all__ = ["check_rows", "find_problems"]

NAMES_SHOWN = 3
KEPT_AT_ONCE = 1024
"""Images after which verdicts are kept, for a check that is cut off."""
CHUNK = 256
"""Files that a thread looks for at once: to hand over one takes longer than to look for it."""


def check_rows(table: pd.DataFrame, reader: ImageReader, ledger: Path | None) -> pd.DataFrame:
    """Look at every row.

    Args:
        table: Rows with the columns path, text, subject_id and split.
        reader: Reads the images.
        ledger: SQLite file with the verdicts of earlier checks, or None to look at everything again.

    Returns:
        The table with two more columns: `content`, the digest of the image, and `problem`, which is empty
        for a good row.
    """
    paths = list(dict.fromkeys(table["path"]))
    with _opened(ledger) as known:
        verdicts = _look(paths, reader, known)
    content = table["path"].map({path: verdict[0] for path, verdict in verdicts.items()})
    problem = table["path"].map({path: verdict[1] for path, verdict in verdicts.items()})
    checked = table.assign(content=content, problem=problem)
    blank = checked["text"].isna() | (checked["text"].astype(str).str.strip() == "")
    crossing = table.groupby("subject_id")["split"].transform("nunique") > 1
    for rows, name in (
        (blank, "empty text"),
        (table["path"].duplicated(), "duplicate path"),
        (crossing, "subject in two splits"),
    ):
        checked.loc[rows & (checked["problem"] == ""), "problem"] = name
    return checked


def find_problems(checked: pd.DataFrame) -> str:
    """Say how many rows have which problem, with the first few of each by name; empty if none has one."""
    bad = checked[checked["problem"] != ""]
    lines = []
    for problem, rows in bad.groupby("problem", sort=False):
        names = ", ".join(map(str, rows["path"].head(NAMES_SHOWN)))
        more = f", and {len(rows) - NAMES_SHOWN} more" if len(rows) > NAMES_SHOWN else ""
        lines.append(f"  {len(rows)} x {problem}: {names}{more}")
    return "\n".join(lines)


def _look(paths: list[str], reader: ImageReader, known: sqlite3.Connection | None) -> dict[str, tuple[str, str]]:
    """Return digest and problem of each path."""
    verdicts: dict[str, tuple[str, str]] = {}
    stamps: dict[str, str] = {}
    earlier = _recall(known)
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
        stamped = pool.map(lambda chunk: [_stamp(path, reader) for path in chunk], chunks)
        bar = tqdm(chain.from_iterable(stamped), total=len(paths), desc="looking for images", unit="row", delay=2)
        for path, stamp in zip(paths, bar, strict=True):
            if stamp is None:
                verdicts[path] = ("", "missing image")
            elif earlier.get(path, ("",))[0] == stamp:
                verdicts[path] = (earlier[path][1], earlier[path][2])
            else:
                stamps[path] = stamp
        unknown = list(stamps)
        bar = tqdm(total=len(unknown), desc="checking images", unit="image", delay=2)
        for start in range(0, len(unknown), KEPT_AT_ONCE):
            chunk = unknown[start : start + KEPT_AT_ONCE]
            new = dict(zip(chunk, pool.map(lambda path: _examine(path, reader), chunk), strict=True))
            _remember(known, {path: (stamps[path], *verdict) for path, verdict in new.items()})
            verdicts |= new
            bar.update(len(chunk))
        bar.close()
    return verdicts


def _stamp(path: str, reader: ImageReader) -> str | None:
    try:
        return reader.stamp(path)
    except OSError:
        return None


def _examine(path: str, reader: ImageReader) -> tuple[str, str]:
    try:
        image: Image.Image = reader.read(path)
        content = reader.content(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        kind = "truncated image" if "truncated" in str(error) else "unreadable image"
        return "", kind
    if min(image.size) < 8:
        return "", "image under 8 pixels"
    return content, ""


@contextmanager
def _opened(ledger: Path | None) -> Iterator[sqlite3.Connection | None]:
    if ledger is None:
        yield None
        return
    ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    others = FileLock(ledger.with_suffix(".lock"))  # ranks and workers, which then find the first one's verdicts
    with others, closing(sqlite3.connect(ledger, timeout=120)) as connection:
        ledger.chmod(0o600)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS verdict (path TEXT PRIMARY KEY, stamp TEXT, content TEXT, problem TEXT)"
        )
        yield connection


def _recall(known: sqlite3.Connection | None) -> dict[str, tuple[str, str, str]]:
    if known is None:
        return {}
    rows = known.execute("SELECT path, stamp, content, problem FROM verdict")
    return {path: (stamp, content, problem) for path, stamp, content, problem in rows}


def _remember(known: sqlite3.Connection | None, rows: dict[str, tuple[str, str, str]]) -> None:
    if known is None or not rows:
        return
    with known:
        known.executemany("INSERT OR REPLACE INTO verdict VALUES (?, ?, ?, ?)", [(p, *row) for p, row in rows.items()])


def raise_or_drop(checked: pd.DataFrame, on_bad_row: str, rejected: Path) -> pd.DataFrame:
    """Stop at bad rows, or write them to a file and go on with the others.

    Args:
        checked: What `check_rows` returned.
        on_bad_row: `raise` or `skip`.
        rejected: Where the bad rows go under `skip`.

    Raises:
        DataError: If there are bad rows under `raise`, or no good ones under `skip`.
    """
    problems = find_problems(checked)
    if not problems:
        return checked
    is_bad = checked["problem"] != ""
    if on_bad_row == "raise":
        raise DataError(
            f"{int(is_bad.sum())} of {len(checked)} rows cannot be used:\n{problems}\nMend them, or go on "
            "without them with `data.on_bad_row: skip`."
        )
    rejected.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    rejected.touch(mode=0o600)
    checked[is_bad].to_csv(rejected, index=False)
    if is_bad.all():
        raise DataError(f"None of the {len(checked)} rows can be used:\n{problems}")
    return checked[~is_bad].reset_index(drop=True)
