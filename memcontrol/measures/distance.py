"""How far from held-out patients lies what the model samples for their captions?"""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

import numpy as np
import torch

from memcontrol.measures.aggregators import SampleDistance, Values, rows_of
from memcontrol.measures.functional.frechet import frechet_distance
from memcontrol.measures.functional.kernel import kernel_deviations, kernel_statistic
from memcontrol.measures.functional.whitening import whitening
from memcontrol.measures.measure import Measure, Scene, register
from memcontrol.measures.measurement import Measurement
from memcontrol.measures.needs import Evidence, Need
from memcontrol.measures.samples import Samples
from memcontrol.measures.statistics.jackknife import Deviations

__all__ = ["FID", "KID", "FeatureMeasure", "KIDByFinding", "KIDWhitened"]

LEAST_IMAGES = 16
"""Fewest images of a finding on either side that are compared."""


class FeatureMeasure(Measure, ABC):
    """Compares features of pictures for held-out captions with those of held-out images."""

    group = "quality"
    needs: ClassVar[tuple[Need[Any], ...]] = (Samples("heldout"),)

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return features of pictures, with shape `(n, D)`, and of held-out images, with shape `(k, D)`."""
        sampled, real = evidence[Samples("heldout")], scene.real
        return Values(sampled.features, sampled.subjects, real.heldout, real.subjects(real.heldout_split))


class FID(FeatureMeasure):
    """The Frechet distance (Heusel et al., 2017)."""

    name = "fid"
    higher_is_better = False
    aggregator = SampleDistance(lambda a, b: rows_of(frechet_distance, a, b), low=0.0, pairs=True)
    words = "Frechet distance to held-out patients"
    column = 10

    def note(self, ours: Values, scene: Scene, note: str) -> str:
        """Say where it is biased."""
        assert ours.outside is not None
        width, n = ours.inside.shape[1], min(len(ours.inside), len(ours.outside))
        return f"n = {n} is below the feature width {width}: biased, compare at equal n only" if n < width else ""


class KernelDistance(SampleDistance):
    """The kernel distance, whose jackknife has a closed form."""

    def deviations(self, values: Values, seed: int) -> Deviations:
        """Leave each patient out."""
        assert values.outside is not None
        return kernel_deviations(values.inside, values.outside, values.patients, values.outside_patients)


class KID(FeatureMeasure):
    """The kernel distance (Binkowski et al., 2018)."""

    name = "kid"
    higher_is_better = False
    aggregator = KernelDistance(kernel_statistic)
    words = "kernel distance to held-out patients"
    column = 20


class KIDWhitened(FeatureMeasure):
    """The kernel distance in the directions in which held-out images differ most, each in units of their spread.

    Features of a large encoder vary most in a few directions, and there also by chance from one set of pictures to the
    next; the others are noise to a set of a hundred. In the leading ones, of equal weight, the same pictures tell
    models apart with half the noise (`benchmarks/reward_noise.py`). The directions are those of the held-out images
    alone, and so the same for all models.
    """

    name = "kid_whitened"
    higher_is_better = False
    aggregator = KernelDistance(kernel_statistic)
    words = "the same in the directions in which held-out images differ most; less noisy"

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return whitened features of pictures, with shape `(n, d)`, and of held-out images, with shape `(k, d)`."""
        plain = super().values(evidence, scene)
        assert plain.outside is not None
        whiten = whitening(plain.outside)
        return Values(whiten(plain.inside), plain.patients, whiten(plain.outside), plain.outside_patients)


class KIDByFinding(FeatureMeasure):
    """The kernel distance of each finding with enough images, as `kid/FINDING`, where the data are labelled."""

    name = "kid_by_finding"
    higher_is_better = False
    aggregator = KernelDistance(kernel_statistic)
    words = "the same of each finding, where the data are labelled"
    is_reward = False

    def measure(self, evidence: Evidence, scene: Scene, base: Evidence | None) -> list[Measurement]:
        """Measure finding by finding."""
        real, sampled = scene.real, evidence[Samples("heldout")]
        table = real.data.table(real.heldout_split)
        if "label" not in table:
            return []
        labels = table["label"].astype(str).to_numpy()
        mine, found = labels[sampled.rows], []
        for label in sorted(set(labels)):
            rows, held = np.flatnonzero(mine == label), np.flatnonzero(labels == label)
            if min(len(rows), len(held)) < LEAST_IMAGES:
                continue
            values = _of_rows(self.values(evidence, scene), rows, held)
            value = self.aggregator.summarize(values, None, 1, scene.options.seed).value
            note = f"{len(rows)} drawn, {len(held)} real"
            found.append(Measurement(f"kid/{label}", self.group, value, None, False, None, note))
        return found


def _of_rows(values: Values, rows: np.ndarray, held: np.ndarray) -> Values:
    assert values.outside is not None
    return Values(
        values.inside[torch.from_numpy(rows)],
        [values.patients[row] for row in rows],
        values.outside[torch.from_numpy(held)],
        [values.outside_patients[row] for row in held],
    )


for _measure in (FID(), KID(), KIDWhitened(), KIDByFinding()):
    register(_measure)
