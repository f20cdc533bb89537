"""Encoders refuse weights that are not theirs, and say what to do."""

from __future__ import annotations

import pytest
import torch

from memcontrol.errors import EncoderError
from memcontrol.measures.encoders import TimmEncoder


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"module.stem.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(EncoderError, match=r"lacks .* tensors of resnet18, e.g. .*module.stem.weight"):
        TimmEncoder("resnet18", weights=str(tmp_path / "other.pt")).load()
