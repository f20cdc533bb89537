"""Share work among processes so that the figures equal those of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

__all__ = ["gather", "mine"]

T = TypeVar("T")


def _world() -> tuple[int, int]:
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def mine(items: Sequence[T]) -> list[T]:
    """Return the items of this process: every R-th of them; the shares may differ by one."""
    rank, count = _world()
    return list(items[rank::count])


def gather(values: Sequence[T]) -> list[T]:
    """Put the results of all processes back into the order that `mine` took items from. All processes must call it."""
    _, count = _world()
    if count == 1:
        return list(values)
    parts: list[Any] = [None] * count
    dist.all_gather_object(parts, [_alone(value) for value in values])
    total = sum(len(part) for part in parts)
    return [parts[i % count][i // count] for i in range(total)]


def _alone(value: T) -> Any:
    """Copy a tensor that is part of a larger one, all of which would be sent."""
    return value.clone() if isinstance(value, Tensor) else value
