"""Encoders refuse weights that are not theirs, and say what to do."""

from __future__ import annotations

import pytest
import torch

from memcontrol.errors import EncoderError, RewardError
from memcontrol.rewards.encoders import ThumbnailEncoder, TimmEncoder
from memcontrol.rewards.metrics import MinimalDistanceMetric


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"module.stem.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(EncoderError, match=r"lacks .* tensors of resnet18, e.g. .*module.stem.weight"):
        TimmEncoder("resnet18", weights=str(tmp_path / "other.pt")).load()


def test_a_metric_without_training_images_says_how_to_give_them():
    metric = MinimalDistanceMetric(ThumbnailEncoder())
    metric.update(torch.rand(2, 3, 64, 64))
    with pytest.raises(RewardError, match="inputs: with_training"):
        metric.compute()
