"""The bound from below holds where the bound from above does, and says what it can show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from memcontrol.privacy.accounting import noise_multiplier_for
from memcontrol.privacy.one_run import best_possible, epsilon_lower_bound, guess, p_value

DELTA = 1e-5


def test_without_delta_it_is_a_binomial_test():
    assert p_value(100, 40, 35, 1.0, 0.0) == pytest.approx(binom.sf(34, 40, 1 / (1 + np.exp(-1))))


def test_what_few_right_guesses_can_show():
    """Steinke et al.: 64 of 64 right cannot show more than about 3."""
    assert 2.9 < best_possible(64, 64, DELTA) < 3.1
    assert best_possible(1000, 200, DELTA) > 4
    assert epsilon_lower_bound(100, 50, 25, DELTA) == 0


def test_a_larger_delta_shows_less():
    assert epsilon_lower_bound(1000, 200, 190, 1e-3) < epsilon_lower_bound(1000, 200, 190, 1e-6)


@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_a_sound_gaussian_mechanism_stays_under_its_bound_and_a_third_of_its_noise_does_not(epsilon):
    rng, steps, candidates = np.random.default_rng(0), 10, 4000
    noise = noise_multiplier_for(epsilon, DELTA, steps, 1.0)

    def audited(factor):
        included = rng.random(candidates) < 0.5
        scores = steps * included + factor * noise * np.sqrt(steps) * rng.normal(size=candidates)
        return guess(scores, included, candidates // 5, DELTA).epsilon

    sound = [audited(1.0) for _ in range(20)]
    assert max(sound) < epsilon
    assert min(sound) > 0.1 * epsilon  # it does see something
    assert min(audited(1 / 3) for _ in range(5)) > epsilon
