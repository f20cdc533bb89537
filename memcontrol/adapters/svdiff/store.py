"""SVD factors by the hash of their weight: computed once on a machine, and read in a worker once."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from memcontrol.adapters.svdiff.factors import factorize
from memcontrol.files import worker_cache
from memcontrol.files.digests import tensor_digest

__all__ = ["factors_of"]

log = logging.getLogger(__name__)

LEAST_VALUES = 4096  # a smaller weight is decomposed sooner than it is hashed and read
Factors = tuple[Tensor, Tensor, Tensor]


def factors_of(weight: Tensor) -> Factors:
    """Return `factorize(weight)`, from memory or disk where the same weight was decomposed before.

    Files lie in the user's cache folder under `memcontrol/svd`, one for each weight, so a mask costs only what it
    turns on; they may be removed at any time. A full or read-only disk costs the reuse, nothing else.

    Args:
        weight: Vector, matrix or convolution kernel.

    Returns:
        `u`, `s` and `vh` in the dtype of the weight, so that no precision is lost by the cache; not to be changed.
    """
    if weight.device.type == "meta" or weight.numel() < LEAST_VALUES:
        return factorize(weight)
    key = tensor_digest(weight)
    return worker_cache.cached(("svd", key, weight.device), lambda: _read_or_make(weight, key))


def _read_or_make(weight: Tensor, key: str) -> Factors:
    path = user_cache_path("memcontrol") / "svd" / f"{key}.safetensors"
    try:
        found = load_file(path, device=str(weight.device))
        # Copies: what lies in a file is not aligned in memory, and unaligned products round otherwise.
        return found["u"].clone(), found["s"].clone(), found["vh"].clone()
    except (OSError, SafetensorError, KeyError):  # not there, or torn
        factors = factorize(weight)
        _write(path, factors)
        return factors


def _write(path: Path, factors: Factors) -> None:
    partial = path.with_suffix(f".{os.getpid()}.part")  # several processes may write the same one
    try:
        for folder in (path.parent.parent, path.parent):  # `parents=True` would leave the first open to others
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        save_file(dict(zip(("u", "s", "vh"), factors, strict=True)), partial)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        log.warning("SVD factors are not kept for the next run: %s", error)
