"""Encoders refuse weights that are not theirs, and say what to do."""

from __future__ import annotations

import pytest
import torch

from memcontrol.data.cache import CacheOptions
from memcontrol.data.features import split_features
from memcontrol.data.images import Transform
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.errors import EncoderError
from memcontrol.measures.encoders import ThumbnailEncoder, TimmEncoder


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"module.stem.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(EncoderError, match=r"lacks .* tensors of resnet18, e.g. .*module.stem.weight"):
        TimmEncoder("resnet18", weights=str(tmp_path / "other.pt")).load()


def test_features_that_are_no_numbers_are_refused(tmp_path):
    class Broken(ThumbnailEncoder):
        def encode(self, images):
            return super().encode(images) / 0

    data = PhantomDataModule(num_subjects=12, transform=Transform(size=64), cache=CacheOptions(folder=str(tmp_path)))
    data.setup("fit")
    with pytest.raises(EncoderError, match="no finite numbers"):
        split_features(data, "train", Broken())
