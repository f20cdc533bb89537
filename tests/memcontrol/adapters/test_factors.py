"""SVD factors are exact, computed once, and never stale."""

from __future__ import annotations

import os

import pytest
import torch

from memcontrol.adapters.svdiff import store
from memcontrol.adapters.svdiff.factors import as_matrix, factorize
from memcontrol.files import worker_cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "memcontrol" / "svd"


def weight(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("shape", [(64, 64), (32, 16, 3, 3), (128, 40), (40, 320)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_read_is_what_was_computed(folder, shape, dtype, monkeypatch):
    w = weight(*shape, dtype=dtype)
    made = store.factors_of(w)
    monkeypatch.setattr(store, "factorize", lambda weight: pytest.fail("decomposed twice"))
    read = store.factors_of(w.clone())
    assert all(torch.equal(a, b) and a.dtype == dtype for a, b in zip(made, read, strict=True))
    if dtype == torch.float32:
        u, s, vh = read
        torch.testing.assert_close((u * s) @ vh, as_matrix(w), atol=1e-5, rtol=1e-5)
    assert len(list(folder.glob("*.safetensors"))) == 1


def test_another_weight_has_other_factors(folder):
    w = weight(64, 64)
    first = store.factors_of(w)
    w[0, 0] += 1
    assert not torch.equal(store.factors_of(w)[1], first[1])
    assert len(list(folder.glob("*"))) == 2


def test_torn_file_is_made_again(folder):
    w = weight(64, 64)
    made = store.factors_of(w)
    (path,) = folder.glob("*")
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(store.factors_of(w)[0], made[0])
    assert path.stat().st_size > 4096


def test_unwritable_cache_costs_the_reuse_only(tmp_path, monkeypatch, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(store, "user_cache_path", lambda name: blocked / name)
    w = weight(64, 64)
    assert torch.equal(store.factors_of(w)[0], factorize(w)[0])
    assert "not kept for the next run" in caplog.text


def test_a_worker_reads_once(folder, monkeypatch):
    monkeypatch.setattr(worker_cache, "_enabled", True)
    monkeypatch.setattr(worker_cache, "_store", {})
    w = weight(64, 64)
    first = store.factors_of(w)
    assert store.factors_of(w)[0] is first[0]


def test_the_cache_folder_is_its_owner_s_alone_whatever_the_umask(folder):
    kept = os.umask(0o022)
    try:
        store.factors_of(weight(64, 64))
    finally:
        os.umask(kept)
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}  # else data would be refused
