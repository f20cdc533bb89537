"""Timesteps lie in their band, as often as the weights say, and without options where they always lay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from memcontrol.diffusion.noising import sample_timesteps
from memcontrol.diffusion.timesteps import TimestepOptions
from memcontrol.errors import MemControlError

SEEDS = torch.arange(20_000)


def test_by_default_they_are_drawn_from_the_whole_schedule():
    assert torch.equal(TimestepOptions().sample(SEEDS, 1000), sample_timesteps(SEEDS, 1000))


@pytest.mark.parametrize(("low", "high"), [(0.25, 1.0), (0.0, 0.75), (0.4, 0.6)])
def test_a_band_holds_all(low, high):
    t = TimestepOptions(low, high).sample(SEEDS, 1000)
    assert (int(t.min()), int(t.max())) == (round(1000 * low), round(1000 * high) - 1)
    counts = np.histogram(t.numpy(), bins=20, range=(1000 * low, 1000 * high))[0]
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("weights", [[1.0, 3.0], [0.0, 2.0, 1.0, 0.0], [5.0, 5.0, 1.0]])
def test_parts_are_drawn_by_their_weights(weights):
    t = TimestepOptions(0.2, 1.0, weights).sample(SEEDS, 1000)
    counts = np.histogram(t.numpy(), bins=len(weights), range=(200, 1000))[0]
    expected = np.array(weights) / sum(weights) * len(SEEDS)
    assert (counts[expected == 0] == 0).all()
    assert chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("options", "said"),
    [({"low": 0.5, "high": 0.5}, "must be below"), ({"low": -0.1}, r"\[0, 1\)"), ({"high": float("nan")}, "nan"),
     ({"weights": [0.0, 0.0]}, "above 0"), ({"weights": []}, "above 0"), ({"weights": [1.0, -1.0]}, r"\[0, inf\)")],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(options, said):
    with pytest.raises(MemControlError, match=said):
        TimestepOptions(**options)
