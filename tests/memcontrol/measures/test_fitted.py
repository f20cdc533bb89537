"""Attacks that learn their direction on half of the patients: honest on the others, whatever the direction."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from memcontrol.measures import Evidence, Scene
from memcontrol.measures.fitted import GradientAUC, SecMIAUC
from memcontrol.measures.probes import Probed


def evidence_of(measure, inside, outside):
    parts = [Probed(list(range(len(x))), [f"{side}{i // 2}" for i in range(len(x))], torch.from_numpy(np.exp(x)))
             for x, side in ((inside, "t"), (outside, "h"))]  # fmt: skip
    return Evidence(dict(zip(measure.needs, parts, strict=True)))


def scene(base=None, seed=0):
    return Scene(None, SimpleNamespace(seed=seed, alpha=0.01), base)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_direction_is_found_whichever_it_is(sign):
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=(80, 3)), rng.normal(size=(80, 3))
    inside[:, 1] += sign * 1.5
    (found,) = SecMIAUC().measure(evidence_of(SecMIAUC(), inside, outside), scene(), None)
    assert found.value.value > 0.75
    assert found.p < 0.01
    assert "learnt on half of the patients" in found.note


def test_where_nothing_is_to_be_found_nothing_is():
    """At a level of 5 %, 200 data sets of features that tell nothing."""
    hits, areas = 0, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        evidence = evidence_of(SecMIAUC(), rng.normal(size=(60, 3)), rng.normal(size=(60, 3)))
        (found,) = SecMIAUC().measure(evidence, scene(seed=seed), None)
        hits += found.p < 0.05
        areas.append(found.value.value)
    assert hits <= 19  # 98 % of binomial samples of 200 at 5 %
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)


def test_nobody_is_scored_by_what_he_was_learnt_on():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    values = SecMIAUC().values(evidence_of(SecMIAUC(), inside, outside), scene())
    assert len(set(values.patients)) == len(set(values.outside_patients)) == 10
    moved = inside.copy()
    tested = [i for i in range(40) if f"t{i // 2}" in values.patients]
    moved[tested] += 100  # patients that are tested change nothing of what is learnt
    again = SecMIAUC().values(evidence_of(SecMIAUC(), moved, outside), scene())
    assert torch.equal(again.outside, values.outside)


def test_gradients_are_held_against_the_base_s():
    rng = np.random.default_rng(0)
    difficulty_in, difficulty_out = 3 * rng.normal(size=(80, 4)), 3 * rng.normal(size=(80, 4))
    base = evidence_of(GradientAUC(), difficulty_in, difficulty_out)
    tuned = evidence_of(GradientAUC(), difficulty_in - 0.5 + 0.3 * rng.normal(size=(80, 4)),
                        difficulty_out + 0.3 * rng.normal(size=(80, 4)))  # fmt: skip
    (found,) = GradientAUC().measure(tuned, scene(base), base)
    assert found.value.value > 0.9
    assert GradientAUC().values(tuned, scene()) is None


def test_too_few_patients_say_nothing():
    rng = np.random.default_rng(0)
    evidence = evidence_of(SecMIAUC(), rng.normal(size=(12, 3)), rng.normal(size=(12, 3)))
    assert SecMIAUC().values(evidence, scene()) is None
