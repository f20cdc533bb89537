"""Captions that may say who a patient is: dates, record numbers, telephone numbers and names after a title.

A look at patterns, not de-identification: what it finds is told to the owner, and what it does not may be there.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from typing import Final

__all__ = ["FOUND", "SENTENCE_END", "find_identifiers", "report_identifiers", "without_identifiers"]

log = logging.getLogger("memcontrol")

MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
FOUND: Final[dict[str, re.Pattern[str]]] = {
    "dates": re.compile(
        rf"\b(?:\d{{1,2}}([./-])\d{{1,2}}\1(?:19|20)?\d{{2}}|(?:19|20)\d{{2}}([./-])\d{{1,2}}\2\d{{1,2}}"
        rf"|{MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)\d{{2}}|\d{{1,2}}\.? {MONTH} (?:19|20)\d{{2}})\b"
    ),
    "record numbers": re.compile(
        r"\b(?:MRN|(?:medical )?record|accession|patient|case|study)(?: (?:no|number|id)\b\.?)?[ :#]*\d[\d-]{3,}\b"
        r"|(?<![\d.])\d{7,}(?![\d.])",
        re.I,
    ),
    "telephone numbers": re.compile(
        r"(?<![\d.])(?:\+\d{1,3}[ -])?(?:\(\d{2,4}\) ?|\d{2,4}[ -])\d{3,4}[ -]\d{3,4}(?![\d.])"
    ),
    "names after a title": re.compile(
        r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor|Doctor|Herr|Frau|Mme)\b\.? [A-Z][\w'\u2019-]+"
    ),
}
"""Kinds of what may identify somebody, and what they look like."""
SENTENCE_END: Final = re.compile(r"(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bMrs\.)(?<!\bProf\.)(?<=[.;!?\n])\s+")
SHOWN: Final = 3


def find_identifiers(text: str) -> list[str]:
    """Return the kinds of what a caption may identify somebody by.

    Example:
        >>> find_identifiers("Seen by Dr. Smith on 3/14/2021. Clear lungs, 2.5 cm nodule.")
        ['dates', 'names after a title']
    """
    return [kind for kind, pattern in FOUND.items() if pattern.search(text)]


def without_identifiers(text: str) -> str:
    """Return a caption without the sentences in which something was found.

    Example:
        >>> without_identifiers("Clear lungs. Discussed with Dr. Smith by phone. No effusion.")
        'Clear lungs. No effusion.'
    """
    return " ".join(part for part in SENTENCE_END.split(text) if not find_identifiers(part)).strip()


def report_identifiers(captions: Iterable[Iterable[str]]) -> None:
    """Say in how many rows something was found, and show the first few to whoever sits at the terminal, nowhere else.

    Args:
        captions: The captions of each row.
    """
    rows: dict[str, list[str]] = {kind: [] for kind in FOUND}
    for texts in captions:
        text = " ".join(texts)
        for kind in find_identifiers(text):
            rows[kind].append(FOUND[kind].search(text)[0])  # type: ignore[index]
    found = {kind: hits for kind, hits in rows.items() if hits}
    if not found:
        return
    counts = ", ".join(f"{kind} in {len(hits)} rows" for kind, hits in found.items())
    log.warning(
        "Captions may say who patients are: %s. A model can learn them, and draw for them. Remove them, or say "
        "`data.identifiers: drop` to leave such sentences out",
        counts,
    )
    if sys.stderr.isatty():
        for kind, hits in found.items():
            print(f"  {kind}, here alone: {', '.join(dict.fromkeys(hits[: SHOWN * 4]))[:200]}", file=sys.stderr)
