"""Spaces with choices and conditions: what does not matter is no difference, and what is proposed can be run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from memcontrol.errors import SearchError
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.search.bayes import features
from memcontrol.search.design import initial_design
from memcontrol.search.options import Bounds, SearchOptions
from memcontrol.search.proposer import Proposer
from memcontrol.search.space import Parameter, SearchSpace

METHOD = Parameter("method", "choice", choices={"svdiff": {"class_path": "a.B"}, "lora": {"class_path": "c.D"}})
RANK = Parameter("method.init_args.r", "choice", choices=[2, 4, 8], when={"method": ["lora"]})
SMALL = Parameter("lr", "log", 1e-5, 1e-4, when={"method": ["lora"]})
LARGE = Parameter("lr", "log", 1e-3, 1e-2, when={"method": ["svdiff"]})
SPACE = SearchSpace(("a", "b", "c"), (METHOD, RANK, SMALL, LARGE))
SVDIFF, LORA = METHOD.unit(0), METHOD.unit(1)


def test_what_does_not_matter_makes_no_other_trial():
    one = SPACE.proposal([1, 0, 1], [SVDIFF, 0.1, 0.2, 0.7])
    other = SPACE.proposal([1, 0, 1], [SVDIFF, 0.9, 0.8, 0.7])
    assert one == other
    assert set(one.values) == {"method", "lr"}
    assert 1e-3 < one.values["lr"] < 1e-2
    lora = SPACE.proposal([1, 0, 1], [LORA, 0.1, 0.2, 0.7])
    assert lora.values["method.init_args.r"] == 2
    assert lora.values["lr"] < 1e-4


def test_an_overlay_holds_what_a_choice_stands_for():
    lora = SPACE.proposal([1, 0, 1], [LORA, 0.9, 0.5, 0.5])
    overlay = SPACE.overlay(lora.mask, lora.units)
    assert overlay["method"] == {"class_path": "c.D", "init_args": {"r": 8}}
    assert overlay["model"] == {"mask": [1, 0, 1]}
    assert METHOD.choices["lora"] == {"class_path": "c.D"}  # the space is as it was
    assert json.loads(json.dumps(dict(lora.values))) == lora.values  # a journal can hold it


def test_conditions_of_conditions():
    chained = Parameter("alpha", "linear", 0, 1, when={"method.init_args.r": [8]})
    space = SearchSpace((), (METHOD, RANK, chained, SMALL))
    assert "alpha" in space.proposal([], [LORA, 0.9, 0.5, 0.5]).values
    assert "alpha" not in space.proposal([], [LORA, 0.1, 0.5, 0.5]).values
    assert "alpha" not in space.proposal([], [SVDIFF, 0.9, 0.5, 0.5]).values


def test_choosing_sets_what_a_choice_depends_on():
    chained = Parameter("alpha", "choice", choices=["low", "high"], when={"method.init_args.r": [8]})
    space = SearchSpace((), (METHOD, RANK, chained, SMALL))
    values = space.proposal([], space.choosing(2, 1)).values
    assert values["method"] == "lora"
    assert values["method.init_args.r"] == 8
    assert values["alpha"] == "high"
    assert space.proposal([], space.choosing(0, 0)).values == {"method": "svdiff"}


@pytest.mark.parametrize("parameters", [
    (RANK, METHOD),
    (METHOD, Parameter("r", "integer", 1, 4, when={"method": ["dora"]})),
    (METHOD, Parameter("r", "integer", 1, 4, when={"method": []})),
])  # fmt: skip
def test_a_condition_on_nothing_is_refused(parameters):
    with pytest.raises(SearchError, match="choices before it are"):
        SearchSpace((), parameters)


def test_two_of_one_key_at_once_are_refused():
    with pytest.raises(SearchError, match="both may matter at once"):
        SearchSpace((), (METHOD, SMALL, Parameter("lr", "log", 1e-3, 1e-2)))


def test_terms_of_what_does_not_matter_are_zero():
    units = np.array([[SVDIFF, 0.1, 0.9, 0.7], [LORA, 0.1, 0.9, 0.7]])
    x, order = features(SPACE, np.zeros((2, 3)), units)
    names = ["constant", "a", "b", "c", "svdiff", "lora", "r2", "r4", "r8", "small", "large"]
    singles = dict(zip(names, x[:, order < 2].T, strict=True))
    assert singles["small"].tolist() == [0, pytest.approx(0.8)]
    assert singles["large"].tolist() == [pytest.approx(0.4), 0]
    assert singles["r2"].tolist() == [0, pytest.approx(2 / 3)]
    assert singles["svdiff"].tolist() == [0.5, -0.5]


@pytest.mark.parametrize("optimizer", ["PairwiseThompson", "DE", "NGOpt"])
def test_the_same_seed_proposes_the_same(optimizer):
    def run():
        proposer, found = Proposer(SPACE, optimizer, [], 20, 1, 2, 3), []
        for _ in range(20):
            proposal = proposer.ask()
            found.append(proposal.digest)
            proposer.tell(proposal, [float(sum(proposal.mask)), -float(proposal.values["lr"])])
        return found

    assert run() == run()
    assert len(set(run())) == 20


def test_ours_finds_the_method_and_what_matters_under_it():
    """Only one method at one end of its rate is good: found more often than by chance."""

    def reward(proposal):
        rate = np.log10(proposal.values["lr"])
        good = proposal.values["method"] == "lora" and proposal.values.get("method.init_args.r") == 8
        return [(1.0 if good else 0.0) - 0.5 * abs(rate + 4.8) + 0.1 * sum(proposal.mask)]

    best = []
    for seed in range(5):
        proposer, found = Proposer(SPACE, "PairwiseThompson", [], 30, 1, 1, seed), []
        for _ in range(30):
            proposal = proposer.ask()
            found.append(reward(proposal)[0])
            proposer.tell(proposal, reward(proposal))
        best.append(max(found))
    assert np.median(best) > 1.2  # of 1.3


def test_nothing_to_train_is_not_proposed():
    space = SearchSpace(("a", "b"), (), may_be_empty=False)
    proposer, found = Proposer(space, "PairwiseThompson", [], 10, 1, 1, 0), []
    while (proposal := proposer.ask()) is not None:
        found.append(proposal.mask)
        proposer.tell(proposal, [float(sum(proposal.mask))])
    assert sorted(found) == [(0, 1), (1, 0), (1, 1)]


def test_bounds():
    bounds = Bounds(at_most={"membership_auc": 0.6})
    assert bounds.met_by({"membership_auc": Interval(0.6, 0.5, 0.7, 9)})
    assert not bounds.met_by({"membership_auc": Interval(0.61, 0.5, 0.7, 9)})
    assert str(bounds) == "membership_auc at most 0.6"
    with pytest.raises(SearchError, match="must bound some of the objectives"):
        SearchOptions(objectives=["membership_auc", "kid"], pick=Bounds(at_most={"fid": 1.0}))
    with pytest.raises(SearchError, match="must bound some of the objectives"):
        SearchOptions(objectives=["membership_auc", "kid"], pick=Bounds())


def test_a_start_says_what_one_would_pick_by_hand():
    start = SPACE.start({"method": "lora", "method.init_args.r": 8, "lr": 2e-5, "model.mask": [1, 0, 1]})
    assert start.mask == (1, 0, 1)
    assert start.values == {"method": "lora", "method.init_args.r": 8, "lr": pytest.approx(2e-5, rel=1e-4)}
    usual = SPACE.start({})
    assert usual == SPACE.proposal([1, 1, 1], SPACE.middle)
    swapped = SPACE.start({"lr": 2e-5, "method.init_args.r": 8, "model.mask": [1, 0, 1], "method": "lora"})
    assert swapped == start  # in whatever order it is written
    assert SPACE.start({"lr": 5e-3}).values == {"method": "svdiff", "lr": pytest.approx(5e-3, rel=1e-4)}


@pytest.mark.parametrize("kind", ["log", "linear", "integer"])
def test_a_start_has_the_number_that_was_asked_for(kind):
    space = SearchSpace((), (Parameter("x", kind, 1, 9),))
    for number in range(1, 10):
        assert space.start({"x": number}).values["x"] == pytest.approx(number, rel=1e-4)


@pytest.mark.parametrize(("values", "said"), [
    ({"method": "dora"}, r"`method` is one of \['svdiff', 'lora'\], but got 'dora'"),
    ({"lr": 1.0}, r"`lr` is a number in \[0\.001, 0\.01\], but got 1\.0"),
    ({"lr": "fast"}, "but got 'fast'"),
    ({"lr": True}, "but got True"),
    ({"rate": 1e-3}, "`rate`, which is not searched"),
    ({"method": "svdiff", "method.init_args.r": 4}, "does not matter beside"),
    ({"model.mask": [1, 1]}, "for each of 3 slots"),
    ({"model.mask": "all"}, "but got all"),
    ({"count": 2.5}, "`count` is a whole number, but got 2.5"),
    ({"model.mask": [0, 0, 0]}, "turns all slots off"),
])  # fmt: skip
def test_a_start_outside_the_space_is_refused(values, said):
    count = Parameter("count", "integer", 1, 9)
    space = SearchSpace(SPACE.slots, (*SPACE.parameters, count), may_be_empty=False)
    with pytest.raises(SearchError, match=said):
        space.start(values)


def test_a_wrong_start_names_the_option():
    with pytest.raises(SearchError, match=r"Argument `search.starts` .*`lr` is a number in .* but got 5"):
        initial_design(SPACE, SearchOptions(starts=[{"lr": 5}]), trains_without=True)


def test_starts_come_before_anchors_and_count_once():
    options = SearchOptions(starts=[{"method": "lora"}, {}], anchors=["all", "none"])
    found = initial_design(SPACE, options, trains_without=True)
    assert [p.values["method"] for p in found] == ["lora", "svdiff", "svdiff", "svdiff"]
    assert [p.bits for p in found] == ["bits:111", "bits:111", "bits:111", "bits:000"]
    proposer = Proposer(SPACE, "PairwiseThompson", found, 8, 1, 2, 0)
    assert [proposer.ask() for _ in range(3)] == [found[0], found[1], found[3]]
