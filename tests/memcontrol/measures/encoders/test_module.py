"""A given network's features are its own, and its digest follows its weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memcontrol.measures.encoders import ModuleEncoder


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5), nn.Dropout(0.5))


def test_features_are_those_of_the_network():
    given = network()
    images = torch.rand(7, 3, 4, 4)
    weight, bias = (p.detach().numpy() for p in given[1].parameters())
    expected = images.numpy().reshape(7, -1) @ weight.T + bias  # without dropout
    encoder = ModuleEncoder(given, size=4, batch_size=3, device="cpu")
    assert encoder.encode(images).numpy() == pytest.approx(expected, abs=1e-5)
    assert encoder.width == 5
    grey = torch.full((2, 3, 8, 8), 0.5)  # resized
    assert encoder.encode(grey).numpy()[1] == pytest.approx(0.5 * weight.sum(axis=1) + bias, abs=1e-5)


def test_digest_changes_with_weights_and_size():
    def digest(seed=0, size=4, added=0.0):
        given = network(seed)
        given[1].bias.data[-1] += added
        return ModuleEncoder(given, size=size, device="cpu").digest

    assert digest() == digest()
    assert len({digest(), digest(seed=1), digest(size=5), digest(added=0.01)}) == 4
