"""Precision, recall, density and coverage: how what is sampled and held-out patients overlap."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from memcontrol.measures.aggregators import Aggregator, SampleDistance
from memcontrol.measures.distance import FeatureMeasure
from memcontrol.measures.functional.manifold import Overlap, overlap
from memcontrol.measures.measure import register
from memcontrol.measures.statistics.jackknife import Statistic

__all__ = ["Coverage", "Density", "Precision", "Recall"]

NEIGHBOURS = 5

_Overlaps = dict[tuple[bytes, bytes], Overlap]
_latest: list[tuple[Tensor, Tensor, _Overlaps]] = []
"""Overlaps of the two pairs of samples that were looked at last (a model's and its base's), shared by all measures."""


def _overlaps_of(a: Tensor, b: Tensor) -> _Overlaps:
    for one, other, overlaps in _latest:
        if one is a and other is b:
            return overlaps
    _latest.append((a, b, {}))
    del _latest[:-2]
    return _latest[-1][2]


def _statistic(name: str) -> Callable[[Tensor, Tensor], Statistic]:
    def of_samples(a: Tensor, b: Tensor) -> Statistic:
        known = _overlaps_of(a, b)

        def statistic(rows_a: np.ndarray, rows_b: np.ndarray) -> float:
            key = (rows_a.tobytes(), rows_b.tobytes())
            if key not in known:
                k = min(NEIGHBOURS, len(rows_a) - 1, len(rows_b) - 1)
                known[key] = overlap(a[torch.from_numpy(rows_a)], b[torch.from_numpy(rows_b)], k)
            return float(getattr(known[key], name))

        return statistic

    return of_samples


class _OverlapMeasure(FeatureMeasure, ABC):
    """One of the four figures."""

    higher_is_better = True


def _of(name: str, high: float = 1.0) -> Aggregator:
    return SampleDistance(_statistic(name), low=0.0, high=high)


class Precision(_OverlapMeasure):
    """Share of pictures within the neighbourhood of a held-out image."""

    name = "precision"
    aggregator = _of("precision")
    words = "pictures that lie among held-out patients"


class Recall(_OverlapMeasure):
    """Share of held-out images within the neighbourhood of a picture."""

    name = "recall"
    aggregator = _of("recall")
    words = "held-out patients who lie among the pictures"


class Density(_OverlapMeasure):
    """How many neighbourhoods of held-out images hold a picture."""

    name = "density"
    aggregator = _of("density", high=np.inf)
    words = "how densely held-out patients surround the pictures"


class Coverage(_OverlapMeasure):
    """Share of held-out images with a picture in their neighbourhood."""

    name = "coverage"
    aggregator = _of("coverage")
    words = "held-out patients with a picture near them"


for _measure in (Precision(), Recall(), Density(), Coverage()):
    register(_measure)
