"""Take radiology reports apart: findings and impression of MIMIC-CXR's reports as PhysioNet gives them."""

from __future__ import annotations

import logging
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import pandas as pd
import regex
from tqdm import tqdm

from memcontrol.data.identifiers import SENTENCE_END
from memcontrol.data.tables import need_columns, read_table, tidy
from memcontrol.errors import DataError

__all__ = ["LeaveOut", "read_reports", "sections_of", "without"]

log = logging.getLogger("memcontrol")

LeaveOut = Literal["placeholders", "comparisons"]

STUDY: Final = regex.compile(r"(?:^|/)s(\d{4,12})\.txt$")
LARGEST: Final = 1 << 20
"""Bytes of one report."""
HEADING: Final = regex.compile(
    # on a line of its own or before its text: words in capitals (or a known name in any case) and a colon
    r"(?m)^[ \t]*(?P<name>[A-Z][A-Z0-9 ,&/()'\-]{2,60}|(?i:findings?|impressions?|conclusions?|comparisons?|indication"
    r"|history|technique|exam(?:ination)?|opinion|summary|recommendations?|notification|wet read|clinical information"
    r"|findings and impression|findings/impression))[ \t]*:"
)
SECTIONS: Final[dict[str, tuple[str, ...]]] = {
    "findings": ("FINDINGS", "FINDING", "REPORT", "DESCRIPTION", "CHEST FINDINGS", "FINDINGS CHEST", "OBSERVATIONS"),
    "impression": (
        "IMPRESSION", "IMPRESSIONS", "CONCLUSION", "CONCLUSIONS", "OPINION", "SUMMARY", "FINDINGS AND IMPRESSION",
        "FINDINGS/IMPRESSION", "IMPRESSION AND FINDINGS", "IMPRESSION/FINDINGS", "PROVISIONAL FINDINGS IMPRESSION",
        "FINAL IMPRESSION", "INTERPRETATION", "ASSESSMENT",
    ),
    "comparison": ("COMPARISON", "COMPARISONS", "COMPARISON FILM", "COMPARISON STUDY", "PRIOR", "REFERENCE EXAM"),
}  # fmt: skip
"""What the sections are headed."""
PLACEHOLDER: Final = "___"
EARLIER: Final = regex.compile(
    r"(?i)\b(?:compar(?:ed|ison|ing)|prior|previous(?:ly)?|earlier|interval(?:ly)?|unchanged|again (?:seen|noted)|"
    r"since the|in the interim|stable|new(?:ly)? since|has (?:increased|decreased|improved|worsened|resolved)|"
    r"(?:increased|decreased|improved|worsened) from|no longer)\b"
)
"""What tells of another study than the one that is described."""


def sections_of(report: str) -> dict[str, str]:
    r"""Take a report apart.

    Args:
        report: Its text.

    Returns:
        `findings`, `impression`, `comparison` and `last_paragraph`, as far as it has them, each in one line. Findings
        and impression under one heading are the impression. `last_paragraph` is what stands after the last heading that
        is none of these, or after the last blank line: what mimic-code's sectioned table calls so.

    Example:
        >>> sections_of("INDICATION: Cough.\nFINDINGS:\nClear lungs.\n\nIMPRESSION: No pneumonia.")
        {'findings': 'Clear lungs.', 'impression': 'No pneumonia.', 'last_paragraph': 'No pneumonia.'}
    """
    found: dict[str, str] = {}
    headings = list(HEADING.finditer(report))
    ends = [*(heading.start() for heading in headings[1:]), len(report)][: len(headings)]
    for heading, end in zip(headings, ends, strict=True):
        name = " ".join(heading["name"].upper().replace("&", "AND").split())
        text = _one_line(report[heading.end() : end])
        section = next((section for section, names in SECTIONS.items() if name in names), None)
        if section is not None and text:
            found[section] = text if section not in found else f"{found[section]} {text}"
    start = headings[-1].end() if headings else 0
    paragraphs = [paragraph for paragraph in regex.split(r"\n\s*\n", report[start:]) if paragraph.strip()]
    if paragraphs:
        found["last_paragraph"] = _one_line(paragraphs[-1])
    return found


def without(text: str, left_out: list[LeaveOut]) -> str:
    """Return a caption without sentences that no image shows.

    Args:
        text: A section.
        left_out: `placeholders` removes `___`, which stand for what was taken out of the reports, and the words that
            lean on them; `comparisons` removes sentences about other studies ("compared to the previous ...").

    Example:
        >>> without("Dr. ___ was told. Clear lungs. Effusion has increased since ___.", ["placeholders", "comparisons"])
        'Clear lungs.'
    """
    sentences = SENTENCE_END.split(text)
    if "comparisons" in left_out:
        sentences = [sentence for sentence in sentences if not EARLIER.search(sentence)]
    if "placeholders" in left_out:
        sentences = [sentence for sentence in sentences if PLACEHOLDER not in sentence]
    return " ".join(sentences).strip()


def read_reports(path: Path) -> pd.DataFrame:
    """Read the reports of all studies.

    Args:
        path: The csv of sections that MIT-LCP's mimic-code makes (columns study, impression, findings,
            last_paragraph, comparison), or the reports as PhysioNet gives them: `mimic-cxr-reports.zip`, or the
            unpacked folder of `files/p10/p10000032/s50414267.txt`.

    Returns:
        The columns study (a number), findings, impression, last_paragraph and comparison; texts, empty where a report
        has none.

    Raises:
        DataError: If it is none of these, or has no reports.
    """
    columns = ["findings", "impression", "last_paragraph", "comparison"]
    if path.is_dir() or path.suffix.lower() == ".zip":
        rows = []
        for study, text in tqdm(_texts(path), desc="reading reports", unit="report", delay=5):
            rows.append({"study": study, **sections_of(text)})
        if not rows:
            raise DataError(
                f"Argument `reports` is {str(path)!r}, which has no reports in it (files/p10/p10000032/s50414267.txt). "
                "Give mimic-cxr-reports.zip of PhysioNet's MIMIC-CXR, or the folder that it unpacks to."
            )
        table = pd.DataFrame(rows, columns=["study", *columns])
        _say_what_is_there(table)
    else:
        table = read_table(path, "reports")
        need_columns(table, ["study"], path)
        studies = tidy(table["study"])
        wrong = ~studies.str.fullmatch(r"s?\d{1,12}")
        if wrong.any():
            raise DataError(
                f"Argument `reports` names {str(path)!r}, of whose {len(table)} rows {int(wrong.sum())} have no number "
                f"of a study in the column `study`, first of all {studies[wrong].iat[0]!r}. Mend or remove them."
            )
        table = table.assign(study=studies.str.removeprefix("s").astype(int))
        table = table.assign(**{name: table.get(name, "") for name in columns})
    texts = {name: table[name].fillna("").astype(str).str.split().str.join(" ") for name in columns}
    return table[["study"]].assign(**texts).drop_duplicates("study").reset_index(drop=True)


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    if path.is_dir():
        for file in sorted(path.rglob("s*.txt")):
            study = STUDY.search(file.as_posix())
            if study and file.is_file() and not file.is_symlink() and file.stat().st_size <= LARGEST:
                yield int(study[1]), file.read_text(encoding="utf-8", errors="replace")
        return
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file, but a pipe or a device")
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                study = STUDY.search(member.filename)
                if study and member.file_size <= LARGEST:
                    yield int(study[1]), archive.read(member).decode("utf-8", "replace")
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"Argument `reports` is {str(path)!r}, which is no zip that can be read: {error}.") from error


def _say_what_is_there(table: pd.DataFrame) -> None:
    has = table[["findings", "impression"]].notna()
    counts = Counter(
        "both" if findings and impression else "findings" if findings else "impression" if impression else "neither"
        for findings, impression in has.itertuples(index=False)
    )
    log.info(
        "%d reports: %d have findings and impression, %d findings alone, %d impression alone, %d neither",
        len(table),
        *(counts[kind] for kind in ("both", "findings", "impression", "neither")),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
