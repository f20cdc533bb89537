"""Find, for each picture, the training image that it is most like a copy of."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from memcontrol.devices import device_named
from memcontrol.measures.copies.agreement import correlation, local_agreement
from memcontrol.measures.copies.encoder import Views, views_of
from memcontrol.measures.copies.poses import POSES, STEPS, WIDEST, halves, turned

__all__ = ["CopyFinder", "Match", "rarity"]

AT_ONCE: Final = 32
"""Pictures that are looked at together."""
BLOCK: Final = 8192
"""Training images that they are compared with together."""
SHORTLIST: Final = 64
"""Training images that are compared by their details."""
GLANCED: Final = 24
"""Training images that this is done for in several poses."""
REGISTERED: Final = 4
"""Training images that a picture is registered to."""
ROUNDS: Final = 8
"""Steps of registration: each finds a better pose, or halves the step."""
OUTLINE_RIM: Final = 2.5
DETAILS_RIM: Final = 1.5
"""Pixels at a picture's border whose relief lacks its surroundings."""
WHOLE_WEIGHT: Final = 8 / 3
"""How much more a difference of whole images counts than one of details: two patients differ less in the whole."""


class Match(NamedTuple):
    """Nearest training image of each query."""

    similarity: Tensor
    """Agreement in [-1, 1], with shape `(n,)`; higher is nearer, 1 is the same up to tone and pose."""
    row: Tensor
    """Row of the training image, with shape `(n,)`."""


def rarity(similarity: float | Tensor | np.ndarray) -> np.ndarray:
    """Return agreements on a scale on which those of different patients have a tail no heavier than exponential."""
    return np.asarray(-np.log(np.maximum(1 - np.asarray(similarity, dtype=np.float64), 1e-4)))


class _Pairs(NamedTuple):
    """Pictures and the training images that they may be copies of, pair by pair, as one long batch."""

    ours: Views
    theirs: Views
    poses: Tensor


class CopyFinder:
    """Compares pictures with training images.

    Args:
        bank: Features of training images by `CopyEncoder`, with shape `(m, D)`.
        device: Where to compare: `auto` (a GPU where there is one), `cpu`, `cuda`, ...
    """

    def __init__(self, bank: Tensor, device: str = "auto") -> None:
        self.bank = bank
        self.device = device_named(device)

    @torch.inference_mode()
    def match(self, queries: Tensor, allowed: Tensor | None = None) -> Match:
        """Find the training image that each picture is most like a copy of.

        Args:
            queries: Features of pictures by `CopyEncoder`, with shape `(n, D)`.
            allowed: Which training images each picture may match, with shape `(n, m)`; at least one each.

        Returns:
            Similarity and row.
        """
        bar = tqdm(_parts(queries), desc="comparing with training images", unit="batch", delay=5, leave=False)
        parts = [self._match(queries[rows], None if allowed is None else allowed[rows]) for rows in bar]
        return Match(torch.cat([p.similarity for p in parts]), torch.cat([p.row for p in parts]))

    @torch.inference_mode()
    def candidates(self, queries: Tensor, count: int) -> Tensor:
        """Return the rows of the training images with the most similar outline, with shape `(n, at most count)`."""
        return torch.cat([self._shortlist(queries[rows], None, count)[0].cpu() for rows in _parts(queries)])

    def _match(self, queries: Tensor, allowed: Tensor | None) -> Match:
        allowed = torch.ones(len(queries), len(self.bank), dtype=torch.bool) if allowed is None else allowed
        allowed = allowed.to(self.device)
        rows, poses = self._shortlist(queries, allowed, min(SHORTLIST, int(allowed.sum(dim=1).max())))
        for look, count in ((_as_found, GLANCED), (_glance, REGISTERED)):
            seen = look(self._pairs(queries, rows, poses)).view(rows.shape)
            seen = seen.masked_fill(~allowed.gather(1, rows), -2.0)
            keep = seen.topk(min(count, rows.shape[1]), dim=1).indices
            rows, poses = rows.gather(1, keep), poses.gather(1, keep)
        found = _registered(self._pairs(queries, rows, poses)).view(rows.shape)
        best = found.masked_fill(~allowed.gather(1, rows), -2.0).max(dim=1)
        return Match(best.values.cpu(), rows.gather(1, best.indices[:, None])[:, 0].cpu())

    def _shortlist(self, queries: Tensor, allowed: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        """Return rows and numbers of poses (mirrored ones after the others) of the most similar outlines."""
        views = views_of(queries.to(self.device))
        (plain, insides), (mirrored, _) = (_laid(pictures.outline) for pictures in (views, views.mirrored()))
        pictures = torch.cat([plain, mirrored])
        best = torch.empty(len(queries), 0, device=self.device)
        rows = poses = torch.empty(len(queries), 0, dtype=torch.long, device=self.device)
        for start in range(0, len(self.bank), BLOCK):
            outlines = views_of(self.bank[start : start + BLOCK].to(self.device)).outline.flatten(1)
            similarity, pose = _most_similar(pictures, insides, outlines)
            if allowed is not None:
                similarity.masked_fill_(~allowed[:, start : start + BLOCK].to(self.device), -2.0)
            numbers = torch.arange(start, start + len(outlines), device=self.device).expand_as(pose)
            best, rows, poses = (torch.cat(x, dim=1) for x in ((best, similarity), (rows, numbers), (poses, pose)))
            best, chosen = best.topk(min(count, best.shape[1]), dim=1)
            rows, poses = rows.gather(1, chosen), poses.gather(1, chosen)
        return rows, poses

    def _pairs(self, queries: Tensor, rows: Tensor, poses: Tensor) -> _Pairs:
        views = views_of(queries.to(self.device))
        both = [torch.cat(pair) for pair in zip(views, views.mirrored(), strict=True)]
        start = torch.cat([POSES, POSES[:1].expand(len(halves(1)), -1)]).to(self.device)
        plain = len(start)
        number = torch.arange(len(queries), device=self.device)[:, None] + len(queries) * (poses >= plain)
        theirs = views_of(self.bank[rows.flatten().cpu()].to(self.device))
        return _Pairs(Views(*(view[number.flatten()] for view in both)), theirs, start[poses.flatten() % plain])


def _parts(queries: Tensor) -> list[slice]:
    return [slice(start, start + AT_ONCE) for start in range(0, len(queries), AT_ONCE)]


def _laid(outlines: Tensor) -> tuple[Tensor, Tensor]:
    """Lay pictures into the frame in each pose; halves of them, which lie as the whole does, come last.

    Returns:
        Pictures free of their mean and of length 1, with shape `(p, n, P)`, and where they reach, with shape `(p, P)`.
    """
    laid = [turned(outlines, pose.expand(len(outlines), -1), OUTLINE_RIM) for pose in POSES.to(outlines.device)]
    whole, inside = laid[0][0], laid[0][1][0]
    parts = halves(outlines.shape[-1]).to(outlines.device)
    pictures = torch.stack([picture for picture, _ in laid] + [whole] * len(parts))
    insides = torch.stack([reach[0] for _, reach in laid] + [inside * part for part in parts])
    means = torch.einsum("pnq,pq->pn", pictures, insides) / insides.sum(dim=1, keepdim=True)
    return normalize((pictures - means[..., None]) * insides[:, None], dim=2), insides


def _most_similar(pictures: Tensor, insides: Tensor, outlines: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest absolute correlation over all poses and the pose, both with shape `(n, m)`."""
    count = insides.sum(dim=1, keepdim=True)
    spread = insides @ outlines.square().T - (insides @ outlines.T).square() / count
    deviations = spread.clamp_min(1e-6).sqrt()
    best = torch.full((pictures.shape[1], len(outlines)), -1.0, device=outlines.device)
    pose = torch.zeros_like(best, dtype=torch.long)
    for number, picture in enumerate(pictures):
        similarity = (picture @ outlines.T / deviations[number % len(insides)]).abs()
        better = similarity > best
        best, pose = torch.where(better, similarity, best), torch.where(better, number, pose)
    return best, pose


def _as_found(pairs: _Pairs) -> Tensor:
    """Return the agreement of details at each pose, with shape `(pairs,)`."""
    return _details(pairs, pairs.poses)


def _glance(pairs: _Pairs) -> Tensor:
    """Return the agreement of details at each pose and next to it, with shape `(pairs,)`."""
    return torch.stack([_details(pairs, pairs.poses + 0.7 * step) for step in _around(pairs.poses)]).amax(dim=0)


def _registered(pairs: _Pairs) -> Tensor:
    """Improve the poses step by step and return the agreement, with shape `(pairs,)`."""
    poses, stride = pairs.poses.clone(), torch.ones(len(pairs.poses), 1, device=pairs.poses.device)
    low, high = WIDEST.to(poses.device)
    best = _details(pairs, poses)
    for _ in range(ROUNDS):
        tried = [(poses + stride * step).clamp(low, high) for step in _around(poses)[1:]]
        values, which = torch.stack([_details(pairs, pose) for pose in tried]).max(dim=0)
        better = values > best
        chosen = torch.stack(tried)[which, torch.arange(len(poses), device=poses.device)]
        poses, best = torch.where(better[:, None], chosen, poses), torch.where(better, values, best)
        stride = torch.where(better[:, None], stride, stride / 2)
    whole = torch.maximum(_whole(pairs, poses), _whole(pairs, POSES[:1].to(poses.device).expand_as(poses)))
    return torch.maximum(best, 1 - WHOLE_WEIGHT * (1 - whole)).clamp(-1, 1)


def _around(poses: Tensor) -> Tensor:
    """Return no step and a step to either side in each direction, with shape `(9, 4)`."""
    steps = torch.diag(STEPS)
    return torch.cat([torch.zeros_like(STEPS)[None], steps, -steps]).to(poses.device)


def _details(pairs: _Pairs, poses: Tensor) -> Tensor:
    return local_agreement(*turned(pairs.ours.details, poses, DETAILS_RIM), pairs.theirs.details.flatten(1))


def _whole(pairs: _Pairs, poses: Tensor) -> Tensor:
    both = zip(pairs.ours[2:], pairs.theirs[2:], strict=True)
    found = [correlation(*turned(ours, poses, 0.0), theirs.flatten(1)).abs() for ours, theirs in both]
    return torch.maximum(*found)
