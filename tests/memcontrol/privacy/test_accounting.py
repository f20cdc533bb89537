"""The accountant agrees with theory, the noise that is solved for keeps its budget, and false claims are found."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from memcontrol.errors import CheckpointError, GuaranteeError
from memcontrol.privacy import Guarantee, PrivacyOptions
from memcontrol.privacy.accounting import Steps, epsilon_of, noise_multiplier_for


def of_gaussian(mu, delta):
    """The exact epsilon of a Gaussian mechanism (Balle and Wang, 2018, theorem 8)."""

    def excess(epsilon):
        return norm.cdf(-epsilon / mu + mu / 2) - math.exp(epsilon) * norm.cdf(-epsilon / mu - mu / 2) - delta

    return brentq(excess, 0, 100)


@pytest.mark.parametrize(("steps", "noise"), [(1, 1.0), (10, 6.3), (100, 20.0)])
def test_without_sampling_it_is_the_gaussian_mechanism(steps, noise):
    exact = of_gaussian(math.sqrt(steps) / noise, 1e-5)
    assert epsilon_of([Steps(steps, 1.0, noise)], 1e-5) == pytest.approx(exact, rel=2e-3)
    assert exact <= epsilon_of([Steps(steps, 1.0, noise)], 1e-5, "rdp") < 1.3 * exact


def test_with_sampling_it_lies_under_what_was_published():
    """Abadi et al. (2016), section 3.2: q 0.01, sigma 4, 10,000 steps, delta 1e-5: 1.26 by the moments accountant."""
    steps = [Steps(10_000, 0.01, 4.0)]
    tight, renyi = epsilon_of(steps, 1e-5), epsilon_of(steps, 1e-5, "rdp")
    assert 0.9 < tight < renyi < 1.26
    # dp-accounting's own tutorial setting: MNIST, batch 256, 60 epochs, noise 1.1
    assert epsilon_of([Steps(14_062, 256 / 60_000, 1.1)], 1e-5) == pytest.approx(2.38, abs=0.01)


def test_trainings_on_the_same_patients_add_up():
    one = epsilon_of([Steps(50, 0.2, 2.0)], 1e-5)
    assert one < epsilon_of([Steps(50, 0.2, 2.0), Steps(70, 0.1, 3.0)], 1e-5) < 2.2 * one
    assert epsilon_of([Steps(50, 0.2, 2.0)] * 2, 1e-5) == pytest.approx(
        epsilon_of([Steps(100, 0.2, 2.0)], 1e-5), rel=1e-3
    )
    assert epsilon_of([], 1e-5) == 0
    assert math.isinf(epsilon_of([Steps(1, 0.1, 0.0)], 1e-5))


@pytest.mark.parametrize("epsilon", [0.5, pytest.param(4.0, marks=pytest.mark.whole), 10.0])
@pytest.mark.parametrize("rate", [0.05, 1.0])
def test_the_noise_that_is_solved_for_keeps_the_budget_and_no_more(epsilon, rate):
    noise = noise_multiplier_for(epsilon, 1e-4, 100, rate)
    assert 0.97 * epsilon < epsilon_of([Steps(100, rate, noise)], 1e-4) <= epsilon


def test_little_noise_is_counted_by_the_accountant_that_fits_into_memory():
    found = Guarantee.of(Steps(1000, 0.2, 0.1), 1e-4, 1.0, 100, 4, "pld")
    assert found.accountant == "rdp"
    assert found.epsilon > 1000
    found.check(1000)


def test_no_bound_needs_no_noise():
    assert noise_multiplier_for(math.inf, 1e-4, 100, 0.1) == 0
    assert Guarantee.of(Steps(10, 0.1, 0.0), 1e-4, 1.0, 100, 4, "pld").epsilon is None


def test_a_claim_below_its_cost_is_refused():
    honest = Guarantee.of(Steps(120, 0.1, 1.5), 1e-4, 1.0, 500, 4, "pld")
    honest.check(120)
    assert Guarantee.from_dict(honest.to_dict()) == honest
    for changed, said in (
        (replace(honest, epsilon=honest.epsilon / 2), "claim epsilon"),
        (replace(honest, steps=60, epsilon=1.0), "counts 60 steps"),
        (replace(honest, noise_multiplier=1.0), "claim epsilon"),
        (replace(honest, rate=0.2), "claim epsilon"),
    ):
        with pytest.raises(CheckpointError, match=said):
            changed.check(120)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epsilon", -1), ("steps", "many"), ("rate", 0), ("unit", "hospital"), ("accountant", "mine"), ("draws", True)],
)
def test_records_that_make_no_sense(name, value):
    honest = Guarantee.of(Steps(10, 0.1, 1.5), 1e-4, 1.0, 500, 4, "pld").to_dict()
    with pytest.raises(CheckpointError, match="makes no sense"):
        Guarantee.from_dict({**honest, name: value})
    with pytest.raises(CheckpointError, match="makes no sense"):
        Guarantee.from_dict({k: v for k, v in honest.items() if k != name})


@pytest.mark.parametrize(
    "options", [{}, {"epsilon": 1.0, "noise_multiplier": 1.0}, {"epsilon": 0}, {"epsilon": 1, "clip": 0}]
)
def test_options_that_make_no_sense(options):
    with pytest.raises(GuaranteeError, match=r"model\.privacy"):
        PrivacyOptions(**options)
