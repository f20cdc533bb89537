"""Does what the model draws for held-out prompts look like held-out patients?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from memcontrol.rewards.functional.frechet import frechet_distance
from memcontrol.rewards.functional.intervals import Interval, halves_draws, halves_interval
from memcontrol.rewards.functional.kernel import kernel_statistic
from memcontrol.rewards.functional.manifold import Overlap, overlap
from memcontrol.scoring.evidence import Drawn, Evidence
from memcontrol.scoring.measures.record import Measure
from memcontrol.scoring.options import ScoringOptions
from memcontrol.scoring.real import RealImages

__all__ = ["distance_draws", "quality_measures"]

DRAWS = {"fid": 20, "kid": 100}


def quality_measures(drawn: Drawn, real: RealImages, options: ScoringOptions, base: Evidence | None) -> list[Measure]:
    """Measure distance to and overlap with held-out patients."""
    theirs = base.heldout if base is not None else None
    held_subjects = real.subjects(real.heldout)
    prompts = drawn.subjects
    width, n = drawn.features.shape[1], min(len(drawn.rows), len(held_subjects))
    note = f"n = {n} is below the feature width {width}: biased, compare at equal n only" if n < width else ""
    found = []
    for name in ("fid", "kid"):
        value = _distance(name, drawn.features, real.held, prompts, held_subjects, options.seed)
        null = _distance(name, theirs.features, real.held, prompts, held_subjects, options.seed) if theirs else None
        found.append(Measure(name, "quality", value, null, False, None, note if name == "fid" else ""))
    found += _by_finding(drawn, real, options.seed)
    found += _overlaps(drawn, theirs, real, prompts, held_subjects, options.seed)
    return found


def _by_finding(drawn: Drawn, real: RealImages, seed: int, least: int = 16) -> list[Measure]:
    """Return the kernel distance of each finding with enough images, where the data are labelled."""
    table = real.data.table(real.heldout)
    if "label" not in table:
        return []
    labels, subjects = table["label"].astype(str).to_numpy(), real.subjects(real.heldout)
    mine = labels[drawn.rows]
    found = []
    for label in sorted(set(labels)):
        rows, held = np.flatnonzero(mine == label), np.flatnonzero(labels == label)
        if min(len(rows), len(held)) < least:
            continue
        value = _distance(
            "kid",
            drawn.features[torch.from_numpy(rows)],
            real.held[torch.from_numpy(held)],
            [drawn.subjects[row] for row in rows],
            [subjects[row] for row in held],
            seed,
        )
        found.append(
            Measure(f"kid/{label}", "quality", value, None, False, None, f"{len(rows)} drawn, {len(held)} real")
        )
    return found


def _distance(
    name: str, features: Tensor, held: Tensor, prompts: list[str], subjects: list[str], seed: int
) -> Interval:
    statistic = kernel_statistic(features, held) if name == "kid" else _frechet_statistic(features, held)
    return halves_interval(statistic, prompts, subjects, num_draws=DRAWS[name], seed=seed)


def distance_draws(name: str, drawn: Drawn, real: RealImages, seed: int) -> list[float]:
    """Return jackknife draws of `fid` or `kid` over patients; those of models with the same prompts are paired."""
    held, subjects = real.held, real.subjects(real.heldout)
    statistic = kernel_statistic(drawn.features, held) if name == "kid" else _frechet_statistic(drawn.features, held)
    draws: list[float] = halves_draws(statistic, drawn.subjects, subjects, DRAWS[name], seed)[1].tolist()
    return draws


def _frechet_statistic(a: Tensor, b: Tensor) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda rows_a, rows_b: frechet_distance(a[torch.from_numpy(rows_a)], b[torch.from_numpy(rows_b)])


def _overlaps(
    drawn: Drawn,
    theirs: Drawn | None,
    real: RealImages,
    prompts: list[str],
    subjects: list[str],
    seed: int,
    k: int = 5,
) -> list[Measure]:
    def interval(features: Tensor, name: str) -> Interval:
        def statistic(rows_a: np.ndarray, rows_b: np.ndarray) -> float:
            found = overlap(
                features[torch.from_numpy(rows_a)],
                real.held[torch.from_numpy(rows_b)],
                min(k, len(rows_a) - 1, len(rows_b) - 1),
            )
            return float(getattr(found, name))

        return halves_interval(statistic, prompts, subjects, num_draws=20, seed=seed)

    return [
        Measure(
            name,
            "quality",
            interval(drawn.features, name),
            interval(theirs.features, name) if theirs is not None else None,
            True,
        )
        for name in Overlap._fields
    ]
