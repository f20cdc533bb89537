"""What a model gives away: what it draws for known prompts, and how it scores known images."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from memcontrol.scoring.model import ScoredModel
from memcontrol.scoring.options import ScoringOptions
from memcontrol.scoring.ranks import gather, mine
from memcontrol.scoring.real import Quota, RealImages

__all__ = ["Drawn", "Evidence", "Probed", "collect", "collect_drawn"]


@dataclass(frozen=True)
class Drawn:
    """Images drawn for the captions of a split.

    Args:
        rows: Row of the split's table that each caption was taken from; -1 where it is none of them.
        subjects: Patient of each caption: the unit of intervals.
        images: Images with shape `(n, 3, H, W)`, values in [0, 1].
        features: Features with shape `(n, D)`.
        thumbnails: Features for copies, with shape `(n, E)`.
        seconds: What drawing took, in seconds.
    """

    rows: list[int]
    subjects: list[str]
    images: Tensor
    features: Tensor
    thumbnails: Tensor
    seconds: float = 0.0


@dataclass(frozen=True)
class Probed:
    """Scores of the images of a split at fixed noise and timesteps.

    Args:
        rows: Rows of the split's table.
        scores: `loss`, `secmi`, `pia`, `noise_norm`, each with shape `(n,)`.
    """

    rows: list[int]
    scores: dict[str, Tensor]


@dataclass(frozen=True)
class Evidence:
    """All that measures are computed from.

    Args:
        train: Drawn for training captions, or None where nothing can be drawn.
        heldout: Drawn for held-out captions.
        members: Probes of training images, or None where there is no model.
        others: Probes of held-out images.
    """

    train: Drawn | None
    heldout: Drawn | None
    members: Probed | None
    others: Probed | None

    @property
    def sampling_seconds(self) -> float:
        """What drawing took, in seconds."""
        return sum(drawn.seconds for drawn in (self.train, self.heldout) if drawn is not None)


def collect(model: ScoredModel, real: RealImages, options: ScoringOptions, progress: bool = False) -> Evidence:
    """Draw and probe; under DDP each process does its share, and all of them get everything.

    Args:
        model: The model.
        real: Real images, to take prompts and probes from.
        options: How much, and how.
        progress: Whether to show bars.
    """
    return replace(
        collect_drawn(model, real, options, progress),
        members=_probe(model, real, "train", options),
        others=_probe(model, real, real.heldout, options),
    )


def collect_drawn(model: ScoredModel, real: RealImages, options: ScoringOptions, progress: bool = False) -> Evidence:
    """Draw as `collect` does, and probe nothing, which needs neither latents nor text states."""
    train = real.prompts("train", options.num_images)
    heldout = real.prompts(real.heldout, options.num_images)
    return Evidence(
        train=_draw(model, real, "train", train, progress),
        heldout=_draw(model, real, real.heldout, heldout, progress),
        members=None,
        others=None,
    )


def _draw(model: ScoredModel, real: RealImages, split: str, quota: Quota, progress: bool) -> Drawn:
    """Draw, and encode each batch while the next one is drawn."""
    texts, subjects = real.texts(split), real.subjects(split)
    images: list[Tensor] = []
    with ThreadPoolExecutor(max_workers=1) as encoding:
        pending = []
        started = time.monotonic()
        for batch in model.draw([texts[row] for row in mine(quota.rows)], mine(quota.seeds), progress):
            pending.append(encoding.submit(_encode, real, batch))
            images += batch.unbind()
        seconds = time.monotonic() - started
        encoded = [future.result() for future in pending]
    features = [feature for part, _ in encoded for feature in part]
    thumbnails = [thumbnail for _, part in encoded for thumbnail in part]
    names = [subjects[row] for row in quota.rows]
    return Drawn(quota.rows, names, _gathered(images), _gathered(features), _gathered(thumbnails), seconds)


def _encode(real: RealImages, images: Tensor) -> tuple[Tensor, Tensor]:
    return real.encoder.encode(images), real.copies.encode(images)


def _gathered(values: Sequence[Tensor]) -> Tensor:
    """Put the shares of all processes together; a process without any still takes part."""
    return torch.stack(gather(values))


def _probe(model: ScoredModel, real: RealImages, split: str, options: ScoringOptions) -> Probed:
    quota = real.probes(split, options.num_probes)
    scores = _probe_rows(model, real, split, mine(quota.rows), mine(quota.seeds), options)
    names = ("loss", "noise_norm", *(("secmi", "pia") if options.attacks else ()))
    return Probed(quota.rows, {name: _gathered(scores[name].unbind()) for name in names})


def _probe_rows(
    model: ScoredModel,
    real: RealImages,
    split: str,
    rows: Sequence[int],
    seeds: Sequence[int],
    options: ScoringOptions,
    batch_size: int = 64,
) -> dict[str, Tensor]:
    images, texts = model.codecs
    null = texts.encode([""])
    captions = real.texts(split)
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(rows), batch_size):
        chosen = list(rows[start : start + batch_size])
        samples = real.latents(split, chosen)
        if "latents" in samples[0]:
            moments = torch.stack([sample["latents"] for sample in samples])
        else:
            moments = images.encode(torch.stack([sample["pixels"] for sample in samples]))
        if "text_states" in samples[0]:
            states = torch.stack([sample["text_states"] for sample in samples])
        else:
            states = texts.encode([captions[row] for row in chosen])
        numbers = torch.tensor(list(seeds[start : start + batch_size]))
        parts.append(model.probe(moments, states, null, numbers, options.draws, options.attacks))
    return {name: torch.cat([p[name] for p in parts]) for name in parts[0]} if parts else defaultdict(_nothing)


def _nothing() -> Tensor:
    return torch.empty(0)
