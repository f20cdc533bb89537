"""The likelihood ratio of shadow models: by hand, and as strong as theory allows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from memcontrol.measures import Evidence
from memcontrol.measures.functional.lira import likelihood_ratios
from memcontrol.measures.measure import Scene, Shadow
from memcontrol.measures.membership import LOW_NOISE
from memcontrol.measures.probes import Probed
from memcontrol.measures.shadow import LiRAAUC
from memcontrol.measures.statistics import permutation


def world(images, shadows, seed, spread=1.0, memorability=1.0):
    """Return scores of a model and of shadows, whose images differ in difficulty and in how well they are learnt."""
    rng = np.random.default_rng(seed)
    means, gaps = 3 * rng.normal(size=images), 1 + memorability * rng.exponential(size=images)
    halves = rng.random((images, shadows // 2)) < 0.5
    members = np.stack([halves, ~halves], axis=2).reshape(images, shadows)
    own = rng.random(images) < 0.5
    score = lambda inside: means + gaps * inside + spread * rng.normal(size=images)  # noqa: E731
    others = np.stack([score(members[:, k]) for k in range(shadows)], axis=1)
    return score(own), others, members, own, means, gaps


def test_with_many_shadows_it_is_carlini_s():
    """Against a computation image by image, with SciPy's densities, where nothing is left to shrink."""
    scores, shadows, members, *_ = world(200, 512, seed=0)
    found = likelihood_ratios(scores, shadows, members)
    residuals = [shadows[i, m] - shadows[i, m].mean() for i in range(200) for m in (members[i], ~members[i])]
    scale = np.sqrt(sum((r**2).sum() for r in residuals) / sum(len(r) - 1 for r in residuals))
    expected = [
        norm.logpdf(scores[i], shadows[i, members[i]].mean(), scale)
        - norm.logpdf(scores[i], shadows[i, ~members[i]].mean(), scale)
        for i in range(200)
    ]
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    assert found == pytest.approx(expected, rel=0.05, abs=0.1)


@pytest.mark.parametrize("shadows", [4, 8, 64])
def test_it_finds_more_than_the_score_alone_and_less_than_theory_allows(shadows):
    scores, others, members, own, means, gaps = world(2000, shadows, seed=1)
    best = roc_auc_score(own, gaps * (scores - means - gaps / 2))
    found = roc_auc_score(own, likelihood_ratios(scores, others, members))
    assert roc_auc_score(own, scores) + 0.1 < found <= best + 0.01
    if shadows == 64:
        assert found > best - 0.02


def test_where_nothing_was_learnt_it_is_chance():
    areas = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        halves = rng.random((400, 2)) < 0.5
        members = np.stack([halves, ~halves], axis=2).reshape(400, 4)
        scores, shadows = rng.normal(size=400), rng.normal(size=(400, 4))
        areas.append(roc_auc_score(rng.random(400) < 0.5, likelihood_ratios(scores, shadows, members)))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)


def scene_of(seed, patients=40, shadows=8):
    """Return what LiRA is told of a model that learnt nobody, and of shadows, whose losses lie elsewhere as a whole."""
    rng = np.random.default_rng(seed)
    names = [[f"{side}{i}" for i in range(patients)] for side in ("trained", "held-out")]
    difficulty = rng.normal(size=2 * patients)

    def evidence(level):
        losses = np.exp(-(difficulty + level + 0.3 * rng.normal(size=2 * patients)))
        sides = torch.from_numpy(losses).view(2, patients, 1)
        probed = [Probed(list(range(patients)), of, scores) for of, scores in zip(names, sides, strict=True)]
        return Evidence(dict(zip(LOW_NOISE, probed, strict=True)))

    everyone = {*names[0], *names[1]}
    halves = [set(rng.permutation(sorted(everyone))[:patients]) for _ in range(shadows // 2)]
    members = [half for first in halves for half in (first, everyone - first)]
    scene = Scene(None, SimpleNamespace(seed=seed), None, [Shadow(evidence(0.1 * rng.normal()), of) for of in members])
    return evidence(0.1 * rng.normal()), evidence(-1.0), scene


def test_a_model_whose_losses_lie_elsewhere_as_a_whole_raises_no_alarm(monkeypatch):
    """A model that is more private than its shadows, or trained a little less, and a base far from both."""
    monkeypatch.setattr(permutation, "LABELINGS", 299)
    found, areas = [], []
    for seed in range(100):
        model, base, scene = scene_of(seed)
        (alone,) = LiRAAUC().measure(model, scene, None)
        (paired,) = LiRAAUC().measure(model, scene, base)
        found.append([alone.p, paired.p])
        areas.append(alone.value.value)
    for level in (0.05, 0.2):
        assert (np.mean(np.array(found) <= level, axis=0) <= level + 3 * np.sqrt(level * (1 - level) / 100)).all()
    assert 0.25 < min(areas) <= max(areas) < 0.75
