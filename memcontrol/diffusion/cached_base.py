"""The base as a worker keeps it between jobs."""

from __future__ import annotations

import torch

from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.components import Components
from memcontrol.files import worker_cache

__all__ = ["is_cached", "load_base"]


def load_base(base: str, random_init: bool, seed: int) -> Components:
    """Load a base, or take the one that is kept, unless a Trainer in true half precision has cast it in place.

    Args:
        base: See `load_components`.
        random_init: Whether its weights are random.
        seed: Seed of random weights.
    """

    def load() -> Components:
        return load_components(base, random_init, seed)

    key = _key(base, random_init, seed)
    parts = worker_cache.cached(key, load)
    if parts.unet.dtype != torch.float32:
        worker_cache.drop(key)
        parts = worker_cache.cached(key, load)
    return parts


def is_cached(base: str, random_init: bool, seed: int) -> bool:
    """Whether a base is at hand already."""
    return worker_cache.holds(_key(base, random_init, seed))


def _key(base: str, random_init: bool, seed: int) -> tuple[str, str, int | None]:
    return ("components", base, seed if random_init else None)
