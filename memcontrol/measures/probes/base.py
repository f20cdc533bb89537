"""What a probe is: a score of single images at fixed noise and timesteps, of one side."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from memcontrol.diffusion.probes import Denoiser
from memcontrol.measures.model import ScoredModel
from memcontrol.measures.needs import Need
from memcontrol.measures.options import ScoringOptions
from memcontrol.measures.processes import gather, mine
from memcontrol.measures.real import RealImages
from memcontrol.types import Side

__all__ = ["Probe", "ProbeBatch", "Probed"]

BATCH_SIZE = 64


@dataclass(frozen=True)
class Probed:
    """Scores of images of a side.

    Args:
        rows: Rows of the side's table.
        subjects: Patient of each image.
        scores: Scores with shape `(n,)`, or `(n, draws)` where a probe gives one for each pair of noise and timestep.
    """

    rows: list[int]
    subjects: list[str]
    scores: Tensor

    @property
    def means(self) -> Tensor:
        """One score of each image, with shape `(n,)`."""
        return self.scores if self.scores.ndim == 1 else self.scores.mean(dim=1)


@dataclass(frozen=True)
class ProbeBatch:
    """A batch of images that are probed.

    Args:
        moments: Posterior mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
        states: Encoded captions, with shape `(B, L, D)`.
        null: The encoded empty caption, with shape `(1, L, D)`.
        seeds: One seed per image, with shape `(B,)`.
        draws: Noise and timestep pairs per image (`scoring.draws`).
    """

    moments: Tensor
    states: Tensor
    null: Tensor
    seeds: Tensor
    draws: int


@dataclass(frozen=True)
class Probe(Need[Probed]):
    """A score of images of a side (`scoring.num_probes`); a new one is a subclass with `score`.

    Args:
        side: `train` or `heldout`.
    """

    side: Side

    @abstractmethod
    def score(self, denoiser: Denoiser, images: ProbeBatch) -> Tensor:
        """Return a score of each image, with shape `(B,)`, or one for each pair of noise and timestep as well."""

    @classmethod
    def kind(cls) -> type[Need[Any]]:
        """All probes read the same latents and captions."""
        return Probe

    @classmethod
    def provide(
        cls, needs: list[Any], model: ScoredModel, real: RealImages, options: ScoringOptions, progress: bool
    ) -> dict[Probe, Probed]:
        """Probe each side's images once with all probes that are asked of it."""
        found: dict[Probe, Probed] = {}
        for side in dict.fromkeys(need.side for need in needs):
            found |= _probed([need for need in needs if need.side == side], side, model, real, options)
        return found


def _probed(
    probes: list[Probe], side: Side, model: ScoredModel, real: RealImages, options: ScoringOptions
) -> dict[Probe, Probed]:
    split = real.split_of(side)
    quota = real.probes(split, options.num_probes)
    subjects = real.subjects(split)
    names = [subjects[row] for row in quota.rows]
    parts = _batches(probes, model, real, split, mine(quota.rows), mine(quota.seeds), options.draws)
    own = {probe: [score for part in parts for score in part[probe].unbind()] for probe in probes}
    return {probe: Probed(quota.rows, names, torch.stack(gather(own[probe]))) for probe in probes}


def _batches(
    probes: list[Probe],
    model: ScoredModel,
    real: RealImages,
    split: str,
    rows: Sequence[int],
    seeds: Sequence[int],
    draws: int,
) -> list[dict[Probe, Tensor]]:
    images, texts = model.codecs
    null = texts.null()
    captions = real.texts(split)
    parts = []
    for start in range(0, len(rows), BATCH_SIZE):
        chosen = list(rows[start : start + BATCH_SIZE])
        samples = real.latents(split, chosen)
        if "latents" in samples[0]:
            moments = torch.stack([sample["latents"] for sample in samples])
        else:
            moments = images.encode(torch.stack([sample["pixels"] for sample in samples]))
        if "text_states" in samples[0]:
            states = torch.stack([sample["text_states"] for sample in samples])
        else:
            states = texts.encode([captions[row] for row in chosen])
        moments, states, null = (model.as_input(x) for x in (moments, states, null))
        batch = ProbeBatch(moments, states, null, torch.tensor(list(seeds[start : start + BATCH_SIZE])), draws)
        with model.precision():
            found = {probe: probe.score(model.denoiser, batch) for probe in probes}
        parts.append({probe: scores.float().cpu() for probe, scores in found.items()})
    return parts
