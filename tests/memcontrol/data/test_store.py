from __future__ import annotations

import shutil
import stat

import numpy as np
import pytest
import torch

from memcontrol.data.cache import CacheOptions, clear_cache, fill, open_store
from memcontrol.data.store import ArrayStore, key_of
from memcontrol.errors import CacheError


def encode(items):
    return torch.tensor([[float(i)] * 3 for i in items])


def test_fills_only_what_is_missing(tmp_path):
    options = CacheOptions(folder=str(tmp_path))
    store = open_store(options, "latents", "a", (3,))
    keys = [key_of(str(i)) for i in range(5)]
    assert fill(store, options, keys, encode, 2, "images") == 5
    again = open_store(options, "latents", "a", (3,))
    assert fill(again, options, [*keys[:4], key_of("new")], encode, 2, "images") == 1
    assert again.read(again.positions(keys)).tolist() == [[i] * 3 for i in range(5)]
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_torn_write_is_cut(tmp_path):
    store = ArrayStore(tmp_path / "s", (3,), "float32")
    with store.writing():
        store.append([key_of("a")], np.ones((1, 3), np.float32))
    for name in ("data.bin", "keys.bin"):
        with (tmp_path / "s" / name).open("ab") as file:
            file.write(b"torn")
    store = ArrayStore(tmp_path / "s", (3,), "float32")
    with store.writing():
        store.append([key_of("b")], np.full((1, 3), 2, np.float32))
    assert store.read(store.positions([key_of("a"), key_of("b")])).tolist() == [[1] * 3, [2] * 3]


def test_bound_removes_the_oldest_then_refuses(tmp_path):
    options = CacheOptions(folder=str(tmp_path), max_gib=60 / 1024**3, dtype="float32")
    first = open_store(options, "latents", "a", (3,))
    fill(first, options, [key_of("x")], encode, 1, "images")
    second = open_store(options, "latents", "b", (3,))
    fill(second, options, [key_of("x"), key_of("y")], encode, 2, "images")
    assert not first.folder.exists()
    with pytest.raises(CacheError, match="max_gib"):
        fill(second, options, [key_of(str(i)) for i in range(50)], encode, 2, "images")


def test_clearing_leaves_other_folders_alone(tmp_path):
    options = CacheOptions(folder=str(tmp_path))
    open_store(options, "latents", "a", (3,))
    (tmp_path / "my-project").mkdir()
    clear_cache(options)
    assert [p.name for p in tmp_path.iterdir()] == ["my-project"]


def test_a_store_that_others_have_emptied_is_not_read(tmp_path):
    store = ArrayStore(tmp_path / "s", (3,), "float32")
    with store.writing():
        store.append([key_of("a"), key_of("b")], np.array([[1.0] * 3, [2.0] * 3]))
    opened = ArrayStore(tmp_path / "s", (3,), "float32")
    opened.open()
    late = ArrayStore(tmp_path / "s", (3,), "float32")
    shutil.rmtree(tmp_path / "s")
    other = ArrayStore(tmp_path / "s", (3,), "float32")
    with other.writing():
        other.append([key_of("b"), key_of("a")], np.array([[2.0] * 3, [1.0] * 3]))
    assert opened.read(0).tolist() == [1] * 3  # it was open before
    with pytest.raises(CacheError, match="was emptied while this run needed it"):
        late.read(0)
