"""What a text of an error may say outside this machine: no path, file of an image, id of a patient or record, caption.

The whole text stays in the log of its run, which only the owner reads.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from memcontrol.files.run_folder import LOG

__all__ = ["open_private", "paths_of", "shareable", "without_paths"]

PATH: Final = "<path>"
ID: Final = "<id>"
TEXT: Final = "<text>"
ROWS = re.compile(r"^(\s*\d+ x [^:\n]*: ).+$", re.M)
"""A line of `data.check`, which ends with the names of rows."""
EXTENSION: Final = r"\.(?:jpe?g|png|dcm|dicom|tiff?|bmp|gif|webp|np[yz]|nii|gz|txt)"
QUOTED = re.compile(
    rf"""(?<!\w)(?:'(?:[^\s'"]*/[^'\n]*|[^'\n]*{EXTENSION})'|"(?:[^\s'"]*/[^"\n]*|[^"\n]*{EXTENSION})")""", re.I
)
"""A path or the file of an image in quotes, which may have spaces."""
TOKEN = re.compile(r"""(?:[a-zA-Z]:\\|\\\\|[^\s'"`,;=({\[]*/)\S*?(?=[.,:;!?)\]}'"`]*(?:\s|$))""")
"""A word with a slash, or one that begins as Windows' paths do; marks around it are left."""
FILE = re.compile(rf"[^\s'\"`=(\[{{/]+{EXTENSION}\b", re.I)
IDS = re.compile(r"(?<!\d)(?<!\d\.)[ps]?\d{8}(?!\d)|[0-9a-f]{8}(?:-[0-9a-f]{8}){4}", re.I)
"""Patients, studies and pictures as MIMIC-CXR names them."""
NUMBERS = re.compile(
    r"\b(MRN|medical record|record|patient|subject|study|accession|case)( ?(?:no|number|id|nr)\b\.?)?"
    r"[ :#=]*\d[\d-]{3,}\b",
    re.I,
)
"""A number that a text says is that of a patient, a record or a study."""
CAPTION = re.compile(r"""(?<!\w)(['"])(?:(?!\1)[^\n]){40,}\1""")
"""A quoted text as long as a report's sentence."""
NO_PATH = re.compile(r"/|\d{1,4}/\d{1,4}|reward/\w+|(?:train|val|test)/loss|and/or|n/a|I/O", re.I)
"""Words with a slash that are none."""


def paths_of(config: Any) -> Iterator[str]:
    """Return all paths that a config names, longest first: its texts with a slash, and what is called `root`."""
    yield from sorted({p for p in _paths(config) if len(p) > 1}, key=len, reverse=True)


def _paths(config: Any, key: str = "") -> Iterator[str]:
    if isinstance(config, dict):
        for name, value in config.items():
            yield from _paths(value, name)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _paths(value, key)
    elif isinstance(config, str) and ("/" in config or key == "root"):
        yield from (config.rstrip("/"), str(Path(config).expanduser()), str(Path(config).expanduser().absolute()))


def without_paths(text: str, known: Iterable[str] = ()) -> str:
    """Replace paths by `<path>`, ids and record numbers by `<id>`, and quoted texts of a caption's length by `<text>`.

    Args:
        text: Text of an error.
        known: Paths that are replaced wherever they stand, longest first; one without a slash only in quotes, as it
            may be any word.

    Example:
        >>> without_paths("DataError: 1 of 9 rows is bad: files/p10/p10000032/s50414267/a.jpg (p10000032)")
        'DataError: 1 of 9 rows is bad: <path> (<id>)'
    """
    for path in known:
        before, after = (r"(?<![\w/])", r"(?![\w-])") if "/" in path else (r"(?<=['\"])", r"(?=['\"])")
        text = re.sub(before + re.escape(path) + after, PATH, text)
    text = ROWS.sub(rf"\1{PATH}", text)
    text = QUOTED.sub(lambda found: f"{found[0][0]}{PATH}{found[0][0]}", text)
    text = TOKEN.sub(lambda found: found[0] if NO_PATH.fullmatch(found[0]) else PATH, text)
    text = CAPTION.sub(TEXT, NUMBERS.sub(lambda found: f"{found[1]}{found[2] or ''} {ID}", text))
    return IDS.sub(ID, FILE.sub(PATH, text))


def open_private(path: Path, mode: str = "a") -> IO[str]:
    """Open a file for writing that only the owner may read, also where it was there before."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags, 0o600)
        with contextlib.suppress(OSError):  # somebody else's, or a disk without modes
            os.fchmod(descriptor, 0o600)
        return descriptor

    return open(path, mode, opener=opener)


def shareable(error: str, folder: Path, known: Iterable[str]) -> str:
    """Keep the text of an error in a run's log, and return what may be published, which says where the whole is.

    Args:
        error: The text.
        folder: Run folder.
        known: Paths that it may not name, see `without_paths`.
    """
    with contextlib.suppress(OSError):  # a full disk may be the error
        folder.mkdir(parents=True, exist_ok=True)
        with open_private(folder / LOG) as file:
            file.write(f"\nFailed: {error}\n")
    return f"{without_paths(error, known)} (The whole text is in its {LOG}.)"
