"""Tar shards in webdataset's layout: `0001.jpg`, `0001.txt` and `0001.json` are one sample."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

import pandas as pd
from tqdm import tqdm

from memcontrol.data.archives import TarReader, grouped, shard_members
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.filters import chosen_rows
from memcontrol.data.splits import split_named
from memcontrol.errors import DataError
from memcontrol.files import worker_cache

__all__ = ["WebDatasetDataModule"]

log = logging.getLogger("memcontrol")

IMAGES: Final = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "dcm")
TEXTS: Final = ("txt", "caption", "text")


class WebDatasetDataModule(CaptionedImageDataModule):
    """Samples of tar shards, read in any order, from where they lie.

    The caption is a sample's `.txt`, or the `text` of its `.json`; patient, label and split are that json's. A shard
    whose name begins with that of a split (`train-0000.tar`) belongs to it, where the samples do not say.

    Args:
        root: Folder of the shards, which must not be compressed.
        text_column: Key of the captions in the json.
        subject_column: Key of the patients.
        label_column: Key of the labels.
        split_column: Key of the splits.
        where: Which samples to keep, e.g. `view == "PA"`.
        kwargs: See `CaptionedImageDataModule`.
    """

    def __init__(
        self,
        root: str,
        text_column: str = "text",
        subject_column: str = "subject_id",
        label_column: str = "label",
        split_column: str = "split",
        where: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self.columns = {
            "path": "path",
            "text": text_column,
            "subject_id": subject_column,
            "label": label_column,
            "split": split_column,
        }
        self.where = where

    @property
    def reader(self) -> TarReader:
        """Reads members of shards."""
        return TarReader(str(self.root))

    def rows(self) -> pd.DataFrame:
        """Read captions and what else there is of each sample."""
        shards = sorted(self.root.glob("*.tar")) if self.root.is_dir() else []
        if not shards:
            raise DataError(
                f"Argument `root` must be a folder of tar shards, but {str(self.root)!r} has no *.tar in it."
            )
        # a worker reads them in its first job only
        rows = worker_cache.cached(("shards", str(self.root), self.columns["text"]), lambda: self._read(shards))
        if not rows:
            raise DataError(
                f"No sample of {len(shards)} shards in {str(self.root)!r} has an image ({', '.join(IMAGES)})."
            )
        return chosen_rows(pd.DataFrame(rows), self.columns, self.root, self.where)

    def _read(self, shards: list[Path]) -> list[dict[str, Any]]:
        bar = tqdm(shards, desc="reading shards", unit="shard", delay=5)
        return [row for shard in bar for row in self._samples(shard)]

    def _samples(self, shard: Path) -> list[dict[str, Any]]:
        reader, split = self.reader, split_named(shard.stem.rstrip("0123456789").rstrip("-_."))
        found = []
        for files in grouped(list(shard_members(shard))).values():
            image = next((files[suffix] for suffix in IMAGES if suffix in files), None)
            if image is None:
                continue
            row: dict[str, Any] = {"path": f"{shard.name}/{image}", **({"split": split} if split else {})}
            if "json" in files:
                told = _mapping(reader.bytes_of(f"{shard.name}/{files['json']}"), f"{shard.name}/{files['json']}")
                row |= {k: v for k, v in told.items() if v is not None}
            text = next((files[suffix] for suffix in TEXTS if suffix in files), None)
            if text is not None:
                row[self.columns["text"]] = reader.bytes_of(f"{shard.name}/{text}").decode("utf-8", "replace").strip()
            found.append({**row, "path": f"{shard.name}/{image}"})
        images = sum(name.rpartition(".")[2].lower() in IMAGES for name in shard_members(shard))
        if images > len(found):
            log.warning(
                "%s: %d of %d images are no samples of their own; a sample's name ends at its first dot",
                shard.name,
                images - len(found),
                images,
            )
        return found


def _mapping(content: bytes, name: str) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"The member {name!r} is no JSON: {error}. Mend the shard, or leave it out.") from error
    if not isinstance(values, dict):
        raise DataError(f"The member {name!r} holds a {type(values).__name__} where names with values are expected.")
    return values
