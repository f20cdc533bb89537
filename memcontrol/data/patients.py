"""Which patients a run was made with, in digests: whose images must be forgotten can be found, and nobody is named.

Patients are mixed with a salt of their own. Who has an id can test for it; who has the file alone would have to guess
ids, which for short ones is possible: it is readable by its owner alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.splits import SPLITS
from memcontrol.data.store import key_of
from memcontrol.errors import CheckpointError
from memcontrol.files.atomic import replacing
from memcontrol.files.run_folder import PATIENTS

__all__ = ["Membership", "find_patient", "recorded_training_set", "text_digest", "write_patients_record"]

BYTES: Final = 8


@dataclass(frozen=True)
class Membership:
    """What a folder was made with of a patient.

    Args:
        split: `train`, `validate` or `test`.
        contents: Digests of the patient's images, as the data module has them.
        texts: Digests of the captions, see `text_digest`.
        image_keys: Keys of the encoded images in the cache.
        training_set: Digest of the training set.
    """

    split: str
    contents: frozenset[str]
    texts: frozenset[bytes]
    image_keys: frozenset[bytes]
    training_set: str


def write_patients_record(folder: Path, data: CaptionedImageDataModule) -> None:
    """Write the record of a run, or of an audit.

    Args:
        folder: Its folder.
        data: Its data, set up.
    """
    training_set = data.training_set()
    salt = hashlib.sha256(training_set.encode()).hexdigest()[:16]
    described: set[tuple[str, ...]] = set()
    tables = []
    for number, split in enumerate(SPLITS):
        dataset = data.datasets[split]
        read = [text for text in (dataset.reader.describe(),) if text]
        described |= {(dataset.transform.describe(v), *read) for v in dataset.kept}
        tables.append(dataset.table.assign(split=number))
    rows = pd.concat(tables)
    texts = [text for row in (rows["captions"] if "captions" in rows else rows["text"]) for text in _several(row)]
    counts = [len(_several(row)) for row in (rows["captions"] if "captions" in rows else rows["text"])]
    about = {"salt": salt, "described": sorted(described), "training_set": training_set}
    with replacing(folder / PATIENTS) as partial:
        partial.touch(mode=0o600)
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
                patient=_array([_salted(salt, name) for name in rows["subject_id"].astype(str)]),
                content=rows["content"].to_numpy(dtype="S"),
                split=rows["split"].to_numpy(dtype=np.uint8),
                text=_array([text_digest(text) for text in texts]),
                row_of_text=np.repeat(np.arange(len(rows), dtype=np.uint32), counts),
            )


def find_patient(folder: Path, patient: str) -> Membership | None:
    """Return what a folder was made with of a patient, or None if with nothing or it has no record.

    Raises:
        CheckpointError: If the record is damaged.
    """
    path = folder / PATIENTS
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            about = _about(file)
            names = ("patient", "content", "split", "text", "row_of_text")
            patients, contents, splits, texts, row_of_text = (file[name] for name in names)
        rows = np.flatnonzero(patients == _array([_salted(str(about["salt"]), patient)])[0])
        if not len(rows):
            return None
        mine = frozenset(value.decode() for value in contents[rows])
        described = [tuple(map(str, parts)) for parts in about["described"]]
        return Membership(
            SPLITS[int(splits[rows[0]])],
            mine,
            frozenset(value.tobytes() for value in texts[np.isin(row_of_text, rows)]),
            frozenset(key_of(content, *parts) for content in mine for parts in described),
            str(about["training_set"]),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Who was trained on there is not known.") from error


def recorded_training_set(folder: Path) -> str | None:
    """Return the digest of the images that a run was trained on, as its own folder says, or None if it does not.

    A private run's checkpoints and cards keep it back; what lies beside them does not leave the house.
    """
    path = folder / PATIENTS
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(_about(file)["training_set"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}. What was trained on there is not known.") from error


def _about(file: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(file["about"]))
    return found


def text_digest(text: str) -> bytes:
    """Return the beginning of a caption's key in the cache."""
    return key_of(text)[:BYTES]


def _several(row: Any) -> tuple[str, ...]:
    return tuple(row) if isinstance(row, tuple | list) else (str(row),)


def _salted(salt: str, name: str) -> bytes:
    return hashlib.blake2b(name.encode(), key=salt.encode(), digest_size=BYTES).digest()


def _array(digests: list[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(digests), dtype=np.uint64)
