"""Encode what a split needs, once, into the stores of the cache."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from memcontrol.data.cache import CacheOptions, fill, open_store
from memcontrol.data.dataset import Cached, CaptionedImages
from memcontrol.data.store import key_of
from memcontrol.sizes import height_and_width
from memcontrol.types import ImageEncoder, TextEncoder

__all__ = ["encoded_images", "encoded_texts"]


def encoded_texts(dataset: CaptionedImages, cache: CacheOptions, texts: TextEncoder, batch_size: int) -> Cached:
    """Return the encoded captions of a split, after those that are missing were encoded.

    Args:
        dataset: The split.
        cache: Where stores are kept.
        texts: Encodes captions.
        batch_size: Captions encoded at once.

    Raises:
        CacheError: If the cache has no room.
    """
    store = open_store(cache, "texts", texts.digest, texts.record_shape)
    keys, captions = dataset.text_keys(), dataset.all_texts()

    def encode(items: list[int]) -> Tensor:
        return texts.encode([captions[item] for item in items])

    fill(store, cache, keys, encode, batch_size, "texts")
    return Cached(store, store.positions(keys))


def encoded_images(dataset: CaptionedImages, cache: CacheOptions, images: ImageEncoder, batch_size: int) -> Cached:
    """Return the encoded images of a split in all variants that are kept, after those that are missing were encoded.

    Args:
        dataset: The split.
        cache: Where stores are kept.
        images: Encodes images.
        batch_size: Images encoded at once.

    Raises:
        CacheError: If the cache has no room.
    """
    size = dataset.transform.size
    digest = key_of(images.digest, str(size)).hex()
    store = open_store(cache, "latents", digest, images.record_shape(*height_and_width(size)))
    keys = dataset.image_keys()
    num_variants = len(dataset.kept)

    def decode(item: int) -> Tensor:
        return dataset.pixels(item // num_variants, dataset.kept[item % num_variants])

    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def encode(items: list[int]) -> Tensor:
            return images.encode(torch.stack(list(pool.map(decode, items))))

        fill(store, cache, keys, encode, batch_size, "images")
    return Cached(store, store.positions(keys).reshape(-1, num_variants))
