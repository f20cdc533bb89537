"""The samples of one split, from the cache where it holds them and from the images where not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from memcontrol.data.images import Transform, Variant
from memcontrol.data.readers import ImageReader
from memcontrol.data.sampler import Pick
from memcontrol.data.store import ArrayStore, key_of
from memcontrol.seeds import derive_seed

__all__ = ["Cached", "CaptionedImages"]


@dataclass
class Cached:
    """Records of a split in a store: which record belongs to which row (and variant)."""

    store: ArrayStore
    positions: np.ndarray

    def __post_init__(self) -> None:
        """Open the store, so that nobody can empty it before it is read."""
        self.store.open()

    def read(self, *index: int) -> torch.Tensor:
        """Return one record in single precision."""
        record = self.store.read(int(self.positions[index]))
        return torch.from_numpy(np.asarray(record, dtype=np.float32))


class CaptionedImages(Dataset[dict[str, Any]]):
    """Captioned images of one split.

    Args:
        table: Rows with the columns path, text, subject_id and content; where images have several captions, also
            `captions`, of which `text` is the first.
        reader: Reads the images.
        transform: Cuts them.
        variants: Variants that training draws from.
        order: Row of each position; a row that is repeated in training has several.
        seed: Seed of samples that are indexed by a bare position (validation, test).
        fresh_variants: Whether each visit is a fresh variant, which no cache can hold.
        any_caption: Whether each visit takes one of the image's captions by its seed, instead of the first.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        reader: ImageReader,
        transform: Transform,
        variants: list[Variant],
        order: np.ndarray | None = None,
        seed: int = 0,
        fresh_variants: bool = False,
        any_caption: bool = False,
    ) -> None:
        self.table = table
        self.paths = table["path"].tolist()
        self.texts = table["text"].astype(str).tolist()
        several = any_caption and "captions" in table
        self.captions: list[tuple[str, ...]] = list(table["captions"]) if several else [(text,) for text in self.texts]
        self._first_caption = np.cumsum([0, *map(len, self.captions)])
        self.reader = reader
        self.transform = transform
        self.variants = variants
        self.kept = variants if Variant() in variants else [*variants, Variant()]
        """Variants that are kept in the cache: those of training, and the view that all splits are scored in."""
        self.order = np.arange(len(table)) if order is None else order
        self.seed = seed
        self.fresh_variants = fresh_variants
        self.weights: np.ndarray | None = None
        """Weight of each row in the loss of training, or None for 1."""
        self.latents: Cached | None = None
        self.text_states: Cached | None = None

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self.order)

    def __getitem__(self, pick: Pick | int) -> dict[str, Any]:
        """Return one sample: see `memcontrol.types.Batch`."""
        if isinstance(pick, tuple):
            row, seed = int(self.order[pick[0]]), pick[1]
        else:
            row = int(self.order[pick])
            seed = derive_seed(self.seed, "sample", str(self.table["content"].iat[row]), row)
        which = derive_seed(seed, "caption of several") % len(self.captions[row]) if len(self.captions[row]) > 1 else 0
        sample: dict[str, Any] = {"index": row, "seed": seed, "text": self.captions[row][which]}
        view = derive_seed(seed, "variant") % len(self.variants)
        if len(self.variants) > 1:
            sample["variant"] = view
        if self.weights is not None:
            sample["weight"] = float(self.weights[row])
        if self.text_states is not None:
            sample["text_states"] = self._states(row, which)
        if self.latents is not None:
            sample["latents"] = self.latents.read(row, view)
        else:
            variant = self.transform.fresh(seed) if self.fresh_variants else self.variants[view]
            sample["pixels"] = self.pixels(row, variant)
        return sample

    def plain(self, row: int) -> dict[str, torch.Tensor]:
        """Return latents (or pixels) of a row, and its first text's states where cached.

        The view is the centre without changes, in each split: in another one, training images would be told from
        held-out ones by how they are cut.
        """
        sample = {}
        if self.latents is not None:
            sample["latents"] = self.latents.read(row, self.kept.index(Variant()))
        else:
            sample["pixels"] = self.pixels(row, Variant())
        if self.text_states is not None:
            sample["text_states"] = self._states(row)
        return sample

    def _states(self, row: int, which: int = 0) -> torch.Tensor:
        assert self.text_states is not None
        return self.text_states.read(int(self._first_caption[row]) + which)

    def pixels(self, row: int, variant: Variant) -> torch.Tensor:
        """Read and cut an image: shape `(3, H, W)`, values in [-1, 1]."""
        return self.transform.apply(self.reader.read(self.paths[row]), variant)

    def image_keys(self) -> list[bytes]:
        """Return the cache key of each row in each variant that is kept, row by row."""
        read = self.reader.describe()
        return [
            key_of(content, self.transform.describe(variant), *([read] if read else []))
            for content in self.table["content"]
            for variant in self.kept
        ]

    def text_keys(self) -> list[bytes]:
        """Return the cache key of each caption, row by row."""
        return [key_of(text) for text in self.all_texts()]

    def all_texts(self) -> list[str]:
        """Return each caption that can be trained on, row by row."""
        return [text for captions in self.captions for text in captions]
