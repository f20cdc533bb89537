"""From patients who were chosen by coins, an audit says how much of a bound it sees used."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from memcontrol.audit.one_run import lower_bound
from memcontrol.data.splits import coin_half
from memcontrol.measures import MEASURES
from memcontrol.measures.aggregators import Values


def scene(coins, known, monkeypatch, tails=0):
    """A scene of 400 patients with two images each, half of them trained on; the known ones' losses fell further."""
    training, others = [f"a{i}" for i in range(200)], [f"b{i}" for i in range(200 + tails)]
    members = coin_half(training, others, 0)
    rng = torch.Generator().manual_seed(0)

    def falls(names, shift):
        return torch.randn(2 * len(names), generator=rng) + shift

    inside = sorted(members)
    outside = sorted({*training, *others} - members)
    values = Values(falls(inside, known), [n for n in inside for _ in "xy"], falls(outside, 0.0),
                    [n for n in outside for _ in "xy"])  # fmt: skip
    monkeypatch.setattr(type(MEASURES["membership_calibrated"]), "values", lambda *_: values)
    data = SimpleNamespace(coin_flips=coins, coin_half=lambda number: coin_half(training, others, number))
    return SimpleNamespace(real=SimpleNamespace(data=data))


def test_what_is_known_by_heart_shows(monkeypatch):
    found = lower_bound(None, scene(0, 6.0, monkeypatch))
    assert found.candidates == 400
    assert found.correct == found.guesses == 80
    assert found.epsilon == found.most > 2.5


def test_nothing_known_shows_nothing(monkeypatch):
    assert lower_bound(None, scene(0, 0.0, monkeypatch)).epsilon < 0.3


def test_patients_without_a_coin_are_no_candidates(monkeypatch):
    assert lower_bound(None, scene(0, 0.0, monkeypatch, tails=100)).candidates == 400


@pytest.mark.parametrize("coins", [None])
def test_without_coins_nothing_is_said(monkeypatch, coins):
    assert lower_bound(None, scene(coins, 6.0, monkeypatch)) is None
