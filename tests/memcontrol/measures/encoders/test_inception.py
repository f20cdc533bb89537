"""Inception takes bytes, and says how to install what it needs."""

from __future__ import annotations

import sys

import pytest
import torch

from memcontrol.errors import EncoderError
from memcontrol.measures.encoders import InceptionEncoder


def test_prepare_returns_bytes():
    levels = torch.arange(256)
    found = InceptionEncoder().prepare(levels / 255)
    assert found.dtype == torch.uint8
    assert found.tolist() == levels.tolist()
    assert InceptionEncoder().prepare(torch.tensor([0.999, 0.001])).tolist() == [255, 0]  # rounded, not cut


def test_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(EncoderError, match=r"needs `torch-fidelity`.*pip install 'memcontrol\[inception\]'"):
        InceptionEncoder().load()
