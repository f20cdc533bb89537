"""Are rewards exchangeable? Fronts of searches with different rewards, seen under one pair of measures.

Validation patients only: searches never meet test patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memcontrol.errors import SearchError
from memcontrol.files.journal import JOURNAL, Journal
from memcontrol.measures.statistics.intervals import Z95, Interval
from memcontrol.measures.statistics.objective import reward_of
from memcontrol.search.front import archive, hypervolume_of
from memcontrol.search.records import read_rescored, read_trials

__all__ = ["Exchange", "SearchedFront", "check_searches", "exchange", "read_fronts"]

NUM_REPLICATES = 2000


@dataclass(frozen=True)
class SearchedFront:
    """The front of a search under measures that it may not have been rewarded for.

    Args:
        name: Name of the study's folder.
        rewards: Rewards with shape `(n, K)`; higher is better.
        errors: Their standard errors, with shape `(n, K)`.
        worst: The worst reward of each measure over all of its validations, with shape `(K,)`.
    """

    name: str
    rewards: np.ndarray
    errors: np.ndarray
    worst: np.ndarray


@dataclass(frozen=True)
class Exchange:
    """How large a front is beside that of the first search.

    Args:
        share: Its hypervolume as a share of the first one's.
        low: Lower end of the first one's 95 % interval, as a share of it.
        high: Upper end.
        p: One-sided p-value of it being smaller by less than the margin.
        smaller: One-sided p-value of it being smaller by more than that.
    """

    share: float
    low: float
    high: float
    p: float
    smaller: float


def read_fronts(folders: Sequence[str], names: Sequence[str], directions: Mapping[str, bool]) -> list[SearchedFront]:
    """Read the fronts of studies, each with as many trials as the shortest has.

    Args:
        folders: Studies' folders; of each, `journal.jsonl` is enough.
        names: Measures that they are seen under.
        directions: Whether higher is better, by measure.

    Raises:
        SearchError: If a folder holds no journal, or a validation lacks a measure.
    """
    check_searches(folders)
    journals = [Journal(_journal(folder)) for folder in folders]
    budget = min(len(read_trials(journal)) for journal in journals)
    return [
        _front(Path(folder).name, journal, budget, names, directions)
        for folder, journal in zip(folders, journals, strict=True)
    ]


def check_searches(folders: Sequence[str]) -> None:
    """See that each folder holds a study.

    Raises:
        SearchError: If one holds no journal.
    """
    for folder in folders:
        if not _journal(folder).is_file():
            raise SearchError(
                f"Argument `compare.searches` names {folder!r}, which holds no journal.jsonl. Give folders of studies."
            )


def _journal(folder: str) -> Path:
    return Path(folder).expanduser() / JOURNAL


def _front(
    name: str, journal: Journal, budget: int, names: Sequence[str], directions: Mapping[str, bool]
) -> SearchedFront:
    records = read_trials(journal)[:budget]
    points = archive(records, read_rescored(journal))
    every = [_rewards(point.measures, names, directions, name)[0] for record in records for point in record.points]
    rewards, errors = zip(*(_rewards(point.measures, names, directions, name) for point in points), strict=True)
    return SearchedFront(name, np.array(rewards), np.array(errors), np.array(every).min(axis=0))


def _rewards(
    measures: Mapping[str, Interval], names: Sequence[str], directions: Mapping[str, bool], study: str
) -> tuple[list[float], list[float]]:
    missing = [name for name in names if name not in measures]
    if missing:
        raise SearchError(f"The study {study!r} did not measure {missing}, but {sorted(measures)}.")
    found = [measures[name] for name in names]
    rewards = [reward_of(m.value, directions[name]) for name, m in zip(names, found, strict=True)]
    return rewards, [(m.high - m.low) / (2 * Z95) for m in found]


def exchange(first: SearchedFront, other: SearchedFront, margin: float, seed: int = 0) -> Exchange:
    """Compare the hypervolume of a front with that of the first search.

    Noise makes a front larger, one of many points more than one of few: replicates stand around the front's own volume,
    without the growth that noise adds on average.

    Args:
        first: Front of the search with the pair of rewards that both are seen under.
        other: Front of another search.
        margin: Share of the first hypervolume that may be lost.
        seed: Seed of the replicates.
    """
    reference = np.minimum(first.worst, other.worst)
    rng = np.random.default_rng(seed)
    whole = hypervolume_of(first.rewards, reference)
    if not whole > 0:
        return Exchange(float("nan"), float("nan"), float("nan"), 1.0, 1.0)
    one, two = (_volumes(front, reference, rng) for front in (first, other))
    low, high = np.quantile(one / whole, (0.025, 0.975))
    lost = int((two < (1 - margin) * one).sum())
    share = hypervolume_of(other.rewards, reference) / whole
    ps = [(count + 1) / (NUM_REPLICATES + 1) for count in (lost, NUM_REPLICATES - lost)]
    return Exchange(share, float(low), float(high), *ps)


def _volumes(front: SearchedFront, reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    replicates = front.rewards + front.errors * rng.normal(size=(NUM_REPLICATES, *front.rewards.shape))
    found = np.array([hypervolume_of(points, reference) for points in replicates])
    centred: np.ndarray = found - found.mean() + hypervolume_of(front.rewards, reference)
    return centred
