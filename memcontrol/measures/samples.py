"""Pictures that a model samples for the captions of a side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from memcontrol.measures.model import ScoredModel
from memcontrol.measures.needs import Need
from memcontrol.measures.options import ScoringOptions
from memcontrol.measures.processes import gather, mine
from memcontrol.measures.real import Quota, RealImages
from memcontrol.types import Side

__all__ = ["Sampled", "Samples"]


@dataclass(frozen=True)
class Sampled:
    """Pictures for the captions of a side.

    Args:
        rows: Row of the side's table that each caption was taken from; -1 where it is none of them.
        subjects: Patient of each caption: the unit of intervals.
        images: Images with shape `(n, 3, H, W)`, values in [0, 1].
        features: Features with shape `(n, D)`.
        copy_features: Features for finding copies, with shape `(n, E)`.
        seconds: What sampling took, in seconds.
    """

    rows: list[int]
    subjects: list[str]
    images: Tensor
    features: Tensor
    copy_features: Tensor
    seconds: float = 0.0


@dataclass(frozen=True)
class Samples(Need[Sampled]):
    """One picture each for captions of a side (`scoring.num_images`).

    Args:
        side: `train` or `heldout`.
    """

    side: Side

    @classmethod
    def provide(
        cls, needs: list[Any], model: ScoredModel, real: RealImages, options: ScoringOptions, progress: bool
    ) -> dict[Samples, Sampled]:
        """Sample side by side."""
        return {need: _sampled(need.side, model, real, options.num_images, progress) for need in needs}


def _sampled(side: Side, model: ScoredModel, real: RealImages, count: int, progress: bool) -> Sampled:
    """Sample, and encode each batch while the next one is sampled."""
    split = real.split_of(side)
    quota: Quota = real.prompts(split, count)
    texts, subjects = real.texts(split), real.subjects(split)
    images: list[Tensor] = []
    with ThreadPoolExecutor(max_workers=1) as encoding:
        pending = []
        started = time.monotonic()
        for batch in model.sample([texts[row] for row in mine(quota.rows)], mine(quota.seeds), progress):
            pending.append(encoding.submit(_encode, real, batch))
            images += batch.unbind()
        seconds = time.monotonic() - started
        encoded = [future.result() for future in pending]
    features = [feature for part, _ in encoded for feature in part]
    copy_features = [feature for _, part in encoded for feature in part]
    names = [subjects[row] for row in quota.rows]
    return Sampled(quota.rows, names, _gathered(images), _gathered(features), _gathered(copy_features), seconds)


def _encode(real: RealImages, images: Tensor) -> tuple[Tensor, Tensor]:
    return real.encoder.encode(images), real.copy_encoder.encode(images)


def _gathered(values: Sequence[Tensor]) -> Tensor:
    """Put the shares of all processes together; a process without any still takes part."""
    return torch.stack(gather(values))
