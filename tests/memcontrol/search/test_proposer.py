"""Proposals follow from the seed and what was told; our proposer learns."""

from __future__ import annotations

import numpy as np
import pytest

from memcontrol.errors import SearchError
from memcontrol.measures.statistics.pareto import front
from memcontrol.search.bayes import PairwiseModel, features
from memcontrol.search.front import hypervolume_of, knee
from memcontrol.search.proposer import Proposer
from memcontrol.search.pruning import levels
from memcontrol.search.space import Parameter, SearchSpace

SPACE = SearchSpace(tuple("abcdefgh"), (Parameter("lr", "log", 1e-4, 1e-2),))


def rewards(proposal, rng=None):
    bits, z = 2 * np.array(proposal.mask) - 1, 2 * proposal.units[0] - 1
    values = np.array([-bits[:4].sum() - 2 * z, bits.sum() - 3 * (z - 0.3) ** 2 + bits[0] * bits[1]])
    return list(values if rng is None else values + rng.normal(size=2))


def run(optimizer, count=30, seed=0, stop=None):
    proposer = Proposer(SPACE, optimizer, [SPACE.proposal([1] * 8, [0.5])], count, 1, 2, seed)
    found = []
    for _ in range(count):
        proposal = proposer.ask()
        found.append(proposal)
        proposer.tell(proposal, rewards(proposal))
    return found


@pytest.mark.parametrize("optimizer", ["PairwiseThompson", "DE", "DiscreteOnePlusOne", "RandomSearch"])
def test_same_seed_same_proposals_and_none_twice(optimizer):
    one, again, other = run(optimizer), run(optimizer), run(optimizer, seed=1)
    assert [p.digest for p in one] == [p.digest for p in again]
    assert [p.digest for p in one] != [p.digest for p in other]
    assert len({p.digest for p in one}) == len(one)
    assert one[0].bits == "bits:11111111"


def test_ours_is_ahead_of_random():
    def volume(found):
        return hypervolume_of(np.array([rewards(p) for p in found]), np.array([-7.0, -20.0]))

    ours = np.mean([volume(run("PairwiseThompson", 40, seed)) for seed in range(3)])
    assert ours > 1.1 * np.mean([volume(run("RandomSearch", 40, seed)) for seed in range(3)])


def test_an_exhausted_space_ends():
    small = SearchSpace(("a", "b"), ())
    proposer = Proposer(small, "PairwiseThompson", [], 10, 1, 1, 0)
    found = []
    while (proposal := proposer.ask()) is not None:
        found.append(proposal.mask)
        proposer.tell(proposal, [float(sum(proposal.mask))])
    assert sorted(found) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_non_finite_rewards_are_never_told():
    proposer = Proposer(SPACE, "PairwiseThompson", [], 10, 1, 2, 0)
    with pytest.raises(ValueError, match="finite"):
        proposer.tell(proposer.ask(), [float("nan"), 1.0])


def test_unknown_optimizer_is_refused():
    with pytest.raises(SearchError, match="PairwiseThompson"):
        Proposer(SPACE, "Pairwise", [], 10, 1, 2, 0)


@pytest.mark.parametrize("optimizer", ["EDA", "NLOPT_LN_SBPLX"])
def test_an_optimizer_that_cannot_go_on_is_refused_before_the_first_trial(optimizer):
    with pytest.raises(SearchError, match="cannot carry out a search here"):
        Proposer(SPACE, optimizer, [], 10, 1, 2, 0)


def test_one_broken_trial_does_not_drown_the_others():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (40, 8))
    losses = bits @ np.linspace(-1, 1, 8) + 0.05 * rng.standard_normal(40)
    broken = np.where(np.arange(40) == 7, 50.0, losses)
    x, order = features(SPACE, bits, np.full((40, len(SPACE.parameters)), 0.5))
    found = PairwiseModel.fit(x, order, broken)
    weights = found._given(found.target)[1:9]
    assert np.corrcoef(weights, np.linspace(-1, 1, 8))[0, 1] > 0.9


def test_parameters_map_to_their_ranges():
    assert Parameter("x", "log", 1e-4, 1e-2).value(0.5) == pytest.approx(1e-3)
    assert {Parameter("x", "integer", 2, 4).value(u) for u in np.linspace(0, 1, 50)} == {2, 3, 4}
    assert Parameter("x", "choice", choices=["a", "b"]).value(1.0) == "b"
    with pytest.raises(SearchError, match="low"):
        Parameter("x", "log", 0, 1)


def test_fronts():
    points = [(1.0, 1.0), (2.0, 0.0), (0.0, 2.0), (0.5, 0.5)]
    assert front(points) == [0, 1, 2]
    assert levels(points) == [0, 0, 0, 1]
    assert knee(np.array(points[:3])) == 0
    noisy = np.array([[0.0, 0.3], [0.1, 0.0]]), np.array([[1.0, 0.01], [1.0, 0.01]])
    assert knee(*noisy) == 0  # the first reward differs by a tenth of its interval only
    assert hypervolume_of(np.array(points), np.array([0.0, 0.0])) == pytest.approx(1.0)
