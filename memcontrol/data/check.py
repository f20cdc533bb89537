"""Check all rows before the first step, in parallel, and remember the verdicts."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import pandas as pd
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from memcontrol.data.readers import ImageReader, Look
from memcontrol.data.spelling import nearest_name, respelled
from memcontrol.errors import DataError
from memcontrol.files.sheet import write_sheet

__all__ = ["check_rows", "examine", "find_problems", "raise_or_drop"]

log = logging.getLogger("memcontrol")

MISSING = "missing image"
NAMES_SHOWN = 3
KEPT_AT_ONCE = 1024
"""Images after which verdicts are kept, for a check that is cut off."""
CHUNK = 256
"""Files that a thread looks for at once: to hand over one takes longer than to look for it."""


def check_rows(table: pd.DataFrame, reader: ImageReader, ledger: Path | None) -> tuple[pd.DataFrame, dict[str, Look]]:
    """Look at every row.

    An image that is there under another spelling (case, backslashes, spaces at the end) is taken, with a word.

    Args:
        table: Rows with the columns path, text, subject_id and split.
        reader: Reads the images.
        ledger: SQLite file with the verdicts of earlier checks, or None to look at everything again.

    Returns:
        The table with two more columns (`content`, the digest of the image, and `problem`, which is empty for a good
        row), and what was seen of each image, by path.
    """
    with _opened(ledger) as known:
        looks = _look(list(dict.fromkeys(table["path"])), reader, known)
        spelled = respelled([path for path, look in looks.items() if look.problem == MISSING])
        looks |= _look(list(spelled.values()), reader, known)
    if spelled:
        first = next(iter(spelled))
        log.warning("%d images are spelled otherwise on disk, e.g. %r is %r", len(spelled), first, spelled[first])
        table = table.assign(path=table["path"].map(lambda path: spelled.get(path, path)))
    content = table["path"].map({path: look.content for path, look in looks.items()})
    problem = table["path"].map({path: look.problem for path, look in looks.items()})
    checked = table.assign(content=content, problem=problem)
    is_known = checked["content"] != ""
    for rows, name in (
        (checked["text"] == "", "empty text"),
        (checked["subject_id"] == "", "no subject (patient)"),
        (checked["path"].duplicated(), "duplicate path"),
        (_crosses(checked, "subject_id"), "subject in two splits"),
        (is_known & _crosses(checked, "content"), "the same image in two splits"),
    ):
        checked.loc[rows & (checked["problem"] == ""), "problem"] = name
    return checked, looks


def find_problems(checked: pd.DataFrame) -> str:
    """Say how many rows have which problem, with the first few of each by name; empty if none has one."""
    bad = checked[checked["problem"] != ""]
    lines = []
    for problem, rows in bad.groupby("problem", sort=False):
        shown = list(map(str, rows["path"].head(NAMES_SHOWN)))
        names = ", ".join(map(_with_nearest, shown) if problem == MISSING else shown)
        more = f", and {len(rows) - NAMES_SHOWN} more" if len(rows) > NAMES_SHOWN else ""
        lines.append(f"  {len(rows)} x {problem}: {names}{more}")
    return "\n".join(lines)


def _with_nearest(path: str) -> str:
    near = nearest_name(Path(path))
    return f"{path} (there is {near!r})" if near else path


def _crosses(table: pd.DataFrame, column: str) -> pd.Series:
    return table.groupby(column)["split"].transform("nunique") > 1


def _look(paths: list[str], reader: ImageReader, known: sqlite3.Connection | None) -> dict[str, Look]:
    """Return what each path holds."""
    looks: dict[str, Look] = {}
    stamps: dict[str, str] = {}
    earlier = _recall(known)
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
        stamped = pool.map(lambda chunk: [_stamp(path, reader) for path in chunk], chunks)
        bar = tqdm(chain.from_iterable(stamped), total=len(paths), desc="looking for images", unit="row", delay=2)
        for path, stamp in zip(paths, bar, strict=True):
            if stamp is None:
                looks[path] = Look(problem=MISSING)
            elif earlier.get(path, ("",))[0] == stamp and not (look := _from_text(earlier[path][1])).problem:
                looks[path] = look
            else:
                stamps[path] = stamp
        unknown = list(stamps)
        bar = tqdm(total=len(unknown), desc="checking images", unit="image", delay=2)
        for start in range(0, len(unknown), KEPT_AT_ONCE):
            chunk = unknown[start : start + KEPT_AT_ONCE]
            new = dict(zip(chunk, pool.map(lambda path: examine(path, reader), chunk), strict=True))
            good = {path: look for path, look in new.items() if not look.problem}  # what failed may be mended
            _remember(known, {path: (stamps[path], json.dumps(asdict(look))) for path, look in good.items()})
            looks |= new
            bar.update(len(chunk))
        bar.close()
    return looks


def _stamp(path: str, reader: ImageReader) -> str | None:
    try:
        return reader.stamp(path)
    except (OSError, ValueError):  # not there, or no name that a file can have
        return None


def examine(path: str, reader: ImageReader) -> Look:
    """Look at an image; what cannot be read is a problem, and no error.

    Raises:
        DataError: If the reader itself cannot work.
    """
    try:
        look = reader.look(path)
    except DataError:  # no fault of the image: an extra is missing, say
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Look(problem="truncated image" if "truncated" in str(error) else "unreadable image")
    if not look.problem and min(look.size) < 8:
        return Look(problem="image under 8 pixels", size=look.size)
    return look


def _from_text(text: str) -> Look:
    values = json.loads(text)
    deep = values["deep"]
    return Look(values["content"], values["problem"], tuple(values["size"]), tuple(deep) if deep else None)


@contextmanager
def _opened(ledger: Path | None) -> Iterator[sqlite3.Connection | None]:
    if ledger is None:
        yield None
        return
    ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    others = FileLock(ledger.with_suffix(".lock"))  # ranks and workers, which then find the first one's verdicts
    with others, closing(sqlite3.connect(ledger, timeout=120)) as connection:
        ledger.chmod(0o600)
        connection.execute("CREATE TABLE IF NOT EXISTS look (path TEXT PRIMARY KEY, stamp TEXT, look TEXT)")
        yield connection


def _recall(known: sqlite3.Connection | None) -> dict[str, tuple[str, str]]:
    if known is None:
        return {}
    return {path: (stamp, look) for path, stamp, look in known.execute("SELECT path, stamp, look FROM look")}


def _remember(known: sqlite3.Connection | None, rows: dict[str, tuple[str, str]]) -> None:
    if known is None or not rows:
        return
    with known:
        known.executemany("INSERT OR REPLACE INTO look VALUES (?, ?, ?)", [(p, *row) for p, row in rows.items()])


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
    write_sheet(checked[is_bad], rejected)
    if is_bad.all():
        raise DataError(f"None of the {len(checked)} rows can be used:\n{problems}")
    log.warning("%d of %d rows are left out, see %s:\n%s", int(is_bad.sum()), len(checked), rejected, problems)
    return checked[~is_bad].reset_index(drop=True)
