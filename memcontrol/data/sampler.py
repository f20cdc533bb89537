"""The order of training samples: seeded, counted, and resumable in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from memcontrol.seeds import derive_seed

__all__ = ["EpochSampler", "Pick", "ResumableLoader"]

Pick = tuple[int, int]
"""A position in the list of training rows, and the seed of everything random about this visit."""


class EpochSampler(DistributedSampler[Pick]):
    """Shuffles positions anew in each epoch and gives every visit a seed of its own.

    All ranks together see what a single process would see at the same global batch size: with R ranks,
    rank r takes every R-th visit. What does not fill a global batch is left to the next epoch's shuffle.

    Args:
        num_positions: Length of the list of training rows.
        batch_size: Batch size of one rank.
        seed: Seed of order and visits.
        rank: Number of this process.
        num_ranks: Number of processes.
    """

    def __init__(self, num_positions: int, batch_size: int, seed: int, rank: int = 0, num_ranks: int = 1) -> None:
        super().__init__(range(num_positions), num_replicas=num_ranks, rank=rank)  # type: ignore[arg-type]
        self.num_positions = num_positions
        self.batch_size = batch_size
        self.seed = seed
        self.start = (0, 0)
        global_batch = batch_size * num_ranks
        self.repeats = -(-global_batch // num_positions)
        self.num_batches = num_positions * self.repeats // global_batch

    def __len__(self) -> int:
        """Return the number of visits of this rank in one epoch."""
        return self.num_batches * self.batch_size

    def order(self, epoch: int) -> np.ndarray:
        """Return the positions of one epoch; a set smaller than a batch is gone through several times."""
        rng = np.random.default_rng(derive_seed(self.seed, "order", epoch))
        return np.concatenate([rng.permutation(self.num_positions) for _ in range(self.repeats)])

    def __iter__(self) -> Iterator[Pick]:  # type: ignore[override]
        """Yield the visits of the current epoch, from where a resumed run has stopped."""
        order = self.order(self.epoch)
        start_epoch, start_batch = self.start
        skipped = start_batch * self.batch_size if self.epoch == start_epoch else 0
        for i in range(skipped, len(self)):
            visit = i * self.num_replicas + self.rank
            yield int(order[visit]), derive_seed(self.seed, "draw", self.epoch, visit)


class ResumableLoader(DataLoader[Any]):
    """A training loader that Lightning can resume: its state is how many batches have been trained on.

    Args:
        dataset: Indexed by what the sampler yields.
        sampler: Order of the visits; it has `num_batches` in an epoch, and a `start`.
        progress: Returns the current epoch and the number of its batches that are done.
        options: Further arguments of DataLoader.
    """

    sampler: Any

    def __init__(
        self, dataset: Dataset[Any], sampler: Any, progress: Callable[[], tuple[int, int]], **options: Any
    ) -> None:
        self.progress = progress
        super().__init__(dataset, sampler=sampler, **options)

    def state_dict(self) -> dict[str, int]:
        """Return epoch and batch."""
        epoch, batch = self.progress()
        return {"epoch": epoch, "batch": batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start where the state was taken."""
        epoch, batch = state["epoch"], state["batch"]
        if batch >= self.sampler.num_batches:
            epoch, batch = epoch + 1, 0
        self.sampler.start = (epoch, batch)
        self.sampler.set_epoch(epoch)
