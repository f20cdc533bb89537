"""Features of real images, computed once per image and encoder, and shared by all runs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.cache import fill, open_store
from memcontrol.data.check import examine
from memcontrol.data.images import Transform, Variant
from memcontrol.data.readers import FileReader, levels_of
from memcontrol.data.store import key_of
from memcontrol.errors import DataError, EncoderError
from memcontrol.types import FeatureEncoder

__all__ = ["file_pixels", "split_features", "split_pixels"]


def split_pixels(data: CaptionedImageDataModule, split: str, rows: list[int]) -> Tensor:
    """Return images of a split as they are trained on, without random crop or flip.

    Returns:
        Images with shape `(B, 3, height, width)`, values in [0, 1].
    """
    dataset = data.datasets[split]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return torch.stack(list(pool.map(lambda row: dataset.pixels(row, Variant()), rows))) / 2 + 0.5


def file_pixels(paths: list[str], transform: Transform) -> Tensor:
    """Return images of files as images of a split are: by the same reader, with one pair of levels for all.

    Args:
        paths: The files.
        transform: Cuts them, without random crop or flip.

    Returns:
        Images with shape `(B, 3, height, width)`, values in [0, 1].

    Raises:
        DataError: If one of them cannot be used.
    """
    reader = FileReader()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looks = dict(zip(paths, pool.map(lambda path: examine(path, reader), paths), strict=True))
        bad = {path: look.problem for path, look in looks.items() if look.problem}
        if bad:
            first = next(iter(bad))
            raise DataError(
                f"{len(bad)} of {len(paths)} pictures cannot be used, first of all {first!r}: {bad[first]}. Remove "
                "them, or save them anew."
            )
        deep = levels_of(look.deep for look in looks.values() if look.deep is not None)
        read = reader.with_levels(deep).read
        pixels = list(pool.map(lambda path: transform.apply(read(path), Variant()), paths))
    return torch.stack(pixels) / 2 + 0.5


def split_features(data: CaptionedImageDataModule, split: str, encoder: FeatureEncoder, batch_size: int = 64) -> Tensor:
    """Return the features of all images of a split.

    Args:
        data: The data, set up.
        split: Name of the split.
        encoder: Turns images into features.
        batch_size: Images encoded at once.

    Returns:
        Features with shape `(n, D)`, in the order of the split's table.

    Raises:
        CacheError: If the cache has no room.
        EncoderError: If features are no finite numbers.
    """
    dataset = data.datasets[split]

    def encode(rows: list[int]) -> Tensor:
        return _finite(encoder.encode(split_pixels(data, split, rows)), encoder)

    if not data.cache.enabled:
        starts = range(0, len(dataset.table), batch_size)
        return torch.cat([encode(list(range(s, min(s + batch_size, len(dataset.table))))) for s in starts])
    options = replace(data.cache, dtype="float32")
    described = data.transform.describe(Variant())
    read = [text for text in (dataset.reader.describe(),) if text]
    keys = [key_of(content, described, *read) for content in dataset.table["content"]]
    store = open_store(options, "features", key_of(encoder.digest, described).hex(), (encoder.width,))
    fill(store, options, keys, encode, batch_size, "features")
    return torch.from_numpy(store.read(store.positions(keys)).copy())


def _finite(features: Tensor, encoder: FeatureEncoder) -> Tensor:
    """Return features of images, or refuse them: no comparison with NaN would ever find anything."""
    if not bool(features.isfinite().all()):
        raise EncoderError(
            f"The encoder {type(encoder).__name__} gives features that are no finite numbers for "
            f"{int((~features.isfinite()).any(dim=1).sum())} of {len(features)} images. Check its weights, or choose "
            "another one (`scoring.encoder`)."
        )
    return features
