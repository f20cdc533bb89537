"""`withdraw`: what was made with the images of a patient who must be forgotten."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from tqdm import tqdm

from memcontrol.data.cache import STORE_NAME, VERDICTS
from memcontrol.data.patients import BYTES, Membership, find_patient, text_digest
from memcontrol.data.store import KEY_BYTES
from memcontrol.errors import CheckpointError, DataError
from memcontrol.files.card import Card
from memcontrol.files.journal import JOURNAL
from memcontrol.files.run_folder import ADAPTER, AUDIT, CARD, CHECKPOINTS, EXPORTS, PARETO, PATIENTS, REJECTED, SAMPLES

__all__ = ["Trace", "withdraw"]

log = logging.getLogger("memcontrol")

NAMING: Final = {"leaking.csv": "patient", REJECTED: "subject_id"}
"""Tables that name patients, and their column."""
USED: Final = {"train": "trained on", "validate": "validated on", "test": "held out"}


@dataclass(frozen=True)
class Trace:
    """Something that was made with a patient's images.

    Args:
        kind: What it is.
        path: Where it is.
        how: What it has of the patient.
    """

    kind: str
    path: str
    how: str


def withdraw(patient: str, folders: Sequence[Path], cache: Path) -> pd.DataFrame:
    """List what was made with a patient's images, and what holds the patient's name.

    Args:
        patient: The patient's id, as the data has it.
        folders: Folders that are looked through, with all that lies in them.
        cache: Folder of the cache.

    Returns:
        A table with the columns kind, path and how, a line for each trace.

    Raises:
        DataError: If a folder does not exist, or nothing in them says who was trained on.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"Argument `folders` names {str(folder)!r}, which is no folder.")
    records, cards, journals, audits, tables, prompts = _look_through(folders)
    if not records:
        raise DataError(
            f"No folder in {[str(f) for f in folders]} has a record of its patients ({PATIENTS}): runs of memcontrol "
            "since 0.2 have one. Name the folders of runs, audits and exports as `--folders`."
        )
    known = {folder: find_patient(folder, patient) for folder in tqdm(records, desc="records", unit="run", delay=2)}
    found = {folder: membership for folder, membership in known.items() if membership is not None}
    sets = {m.training_set for m in found.values() if m.split == "train"}
    traces = [trace for folder, membership in found.items() for trace in _of_folder(folder, membership, audits)]
    traces += _of_cards(cards, sets, [folder for folder in found if folder not in audits])
    traces += _of_journals(journals, [folder for folder in found if folder not in audits])
    traces += [trace for path in tables for trace in _of_table(path, patient)]
    texts = frozenset(text for m in found.values() for text in m.texts)
    traces += [trace for path in prompts for trace in _of_prompts(path, texts)]
    traces += _of_cache(cache, list(found.values()))
    table = pd.DataFrame([(t.kind, t.path, t.how) for t in traces], columns=["kind", "path", "how"])
    return table.drop_duplicates(["kind", "path"]).reset_index(drop=True)


def _look_through(
    folders: Sequence[Path],
) -> tuple[list[Path], list[Path], list[Path], set[Path], list[Path], list[Path]]:
    """Return folders with a record, with a card, with a journal and with an audit, and tables of names and prompts."""
    records, cards, journals, tables, prompts = [], [], [], [], []
    audits: set[Path] = set()
    for root in folders:
        for path in sorted(root.rglob("*")):
            if path.name == PATIENTS:
                records.append(path.parent)
            elif path.name == CARD:
                cards.append(path.parent)
            elif path.name == JOURNAL:
                journals.append(path.parent)
            elif path.name == AUDIT:
                audits.add(path.parent)
            elif path.name in NAMING:
                tables.append(path)
            elif path.name == "prompts.csv":
                prompts.append(path)
    return records, cards, journals, audits, tables, prompts


def _of_folder(folder: Path, membership: Membership, audits: set[Path]) -> Iterator[Trace]:
    """Yield a run or an audit, and what of it was made with the patient."""
    used = USED[membership.split]
    if folder in audits:
        yield Trace("audit", str(folder), f"{used}: measures, pictures and ranks of patients")
        if (folder / "draws").is_dir():
            yield Trace("pictures of an audit", str(folder / "draws"), "drawn by models, for captions of its patients")
        return
    yield Trace("run", str(folder), used)
    if membership.split == "train":
        for name, kind in ((CHECKPOINTS, "checkpoint"), (PARETO, "checkpoint of the front")):
            for path in sorted((folder / name).glob("*.ckpt")):
                yield Trace(kind, str(path), "its weights were trained on the patient")
        exports = (folder / EXPORTS).read_text().splitlines() if (folder / EXPORTS).is_file() else []
        for export in dict.fromkeys(exports):
            is_there = (
                "its weights were trained on the patient" if Path(export).is_dir() else "was made, and moved since"
            )
            yield Trace("export", export, is_there)
        if (folder / ADAPTER).is_dir():
            yield Trace("adapter", str(folder / ADAPTER), "its weights were trained on the patient")
    if (folder / SAMPLES).is_dir():
        yield Trace("samples", str(folder / SAMPLES), "drawn by the run")


def _of_cards(folders: Sequence[Path], sets: set[str], runs: Sequence[Path]) -> Iterator[Trace]:
    """Yield exports whose weights were trained on a set that the patient is in."""
    for folder in folders:
        try:
            card = Card.read(folder)
        except CheckpointError as error:
            log.warning("%s", error)
            continue
        inside = any(folder.is_relative_to(run) for run in runs)
        if card is not None and card.training_set in sets and not inside:
            yield Trace("export", str(folder), "its weights were trained on the patient")


def _of_journals(folders: Sequence[Path], runs: Sequence[Path]) -> Iterator[Trace]:
    """Yield studies and comparisons that have such runs."""
    for folder in folders:
        inside = [run for run in runs if run.is_relative_to(folder)]
        if not inside:
            continue
        yield Trace(
            "study or comparison", str(folder), f"its journal, tables and report tell of {len(inside)} such runs"
        )
        evidence = folder / "evidence"
        if evidence.is_dir():
            yield Trace("evidence", str(evidence), "scores of its patients, without names")


def _of_table(path: Path, patient: str) -> Iterator[Trace]:
    column = NAMING[path.name]
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if column in table and table[column].str.lstrip("'").eq(patient).any():
        yield Trace("table that names the patient", str(path), f"column {column}")


def _of_prompts(path: Path, texts: frozenset[bytes]) -> Iterator[Trace]:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    columns = [name for name in ("text", "prompt") if name in table]
    said = sum(text_digest(text) in texts for name in columns for text in table[name])
    if said:
        yield Trace("pictures of predict", str(path.parent), f"{said} were drawn for a caption of the patient")


def _of_cache(cache: Path, memberships: Sequence[Membership]) -> Iterator[Trace]:
    """Yield stores that hold encoded images or captions of the patient."""
    images = {key[:BYTES] for m in memberships for key in m.image_keys}
    texts = {text for m in memberships for text in m.texts}
    contents = {content for m in memberships for content in m.contents}
    for folder in sorted(cache.iterdir()) if cache.is_dir() else []:
        keys = folder / "keys.bin"
        if not STORE_NAME.fullmatch(folder.name) or not keys.is_file():
            continue
        stored = np.frombuffer(keys.read_bytes(), dtype=np.uint8)
        stored = stored[: len(stored) // KEY_BYTES * KEY_BYTES].reshape(-1, KEY_BYTES)[:, :BYTES]
        wanted = texts if folder.name.startswith("texts") else images
        count = sum(row.tobytes() in wanted for row in stored)
        if count:
            yield Trace("cache", str(folder), f"{count} encoded images or captions")
    ledger = cache / VERDICTS
    if ledger.is_file():
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT look FROM look").fetchall()
        count = sum(json.loads(look).get("content") in contents for (look,) in rows)
        if count:
            yield Trace("cache", str(ledger), f"digests of {count} images")
