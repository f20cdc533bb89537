"""Training by patients who are taken by coins, as private training must take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, DistributedSampler, default_collate

from memcontrol.data.sampler import Pick

__all__ = ["PoissonSampler", "RandomStreams", "Visits", "collated"]

RandomStreams = Callable[..., np.random.Generator]
"""Returns the random numbers that some words and numbers name."""


class PoissonSampler(DistributedSampler[list[Pick]]):
    """Takes each patient into each batch with the same probability, by a coin of its own.

    A patient who is taken is seen `draws` times: images in turn, from a random one on, each visit with a seed of its
    own. A batch may be empty. Of R ranks, rank r has every R-th of the patients who are taken, so that all together see
    what one alone would see.

    Args:
        patients: Patient of each position in the list of training rows.
        rate: Probability with which a batch takes a patient, in (0, 1].
        draws: Visits of each patient in a batch.
        streams: Where all random numbers come from.
        rank: Number of this process.
        num_ranks: Number of processes.
    """

    def __init__(
        self,
        patients: Sequence[str],
        rate: float,
        draws: int,
        streams: RandomStreams,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        names, numbers = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        super().__init__(range(len(names)), num_replicas=num_ranks, rank=rank)  # type: ignore[arg-type]
        order = np.argsort(numbers, kind="stable")
        self.positions = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
        self.rate = rate
        self.draws = draws
        self.streams = streams
        self.start = (0, 0)
        self.num_batches = max(1, round(1 / rate))
        """Batches after which each patient was taken once, on average."""

    def __len__(self) -> int:
        """Return the number of batches in one epoch."""
        return self.num_batches

    def taken(self, number: int) -> np.ndarray:
        """Return the patients of a batch, of all ranks, in order."""
        coins = self.streams("patients", number).random(len(self.positions))
        return np.flatnonzero(coins < self.rate)

    def __iter__(self) -> Iterator[list[Pick]]:
        """Yield this rank's part of each batch of the current epoch, from where a resumed run has stopped."""
        start_epoch, start_batch = self.start
        first = start_batch if self.epoch == start_epoch else 0
        for batch in range(first, self.num_batches):
            number = self.epoch * self.num_batches + batch
            mine = self.taken(number)[self.rank :: self.num_replicas]
            yield [pick for patient in mine for pick in self._visits(int(patient), number)]

    def _visits(self, patient: int, number: int) -> Iterator[Pick]:
        random = self.streams("visits", number, patient)
        positions = random.permutation(self.positions[patient])
        seeds = random.integers(0, 2**62, size=self.draws)
        for i, seed in enumerate(seeds):
            yield int(positions[i % len(positions)]), int(seed)


class Visits(Dataset[list[Any]]):
    """Samples by lists of picks: a whole batch at once.

    Args:
        samples: Indexed by picks.
    """

    def __init__(self, samples: Dataset[Any]) -> None:
        self.samples = samples

    def __getitem__(self, picks: list[Pick]) -> list[Any]:
        """Return the samples of a batch."""
        return [self.samples[pick] for pick in picks]


def collated(samples: list[Any]) -> dict[str, Any]:
    """Return samples as a batch; of none, an empty dict."""
    batch: dict[str, Any] = default_collate(samples) if samples else {}
    return batch
