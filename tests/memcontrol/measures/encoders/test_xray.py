"""The paper's encoder reads weights that run no code or that are pinned, and only whole ones."""

from __future__ import annotations

import hashlib
import os
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from memcontrol.errors import EncoderError
from memcontrol.measures.encoders import XrayEncoder


class DenseNet(nn.Module):
    """Stands in for torchxrayvision's."""

    def __init__(self, num_classes):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 3, 1))
        self.classifier = nn.Linear(3, num_classes)


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch):
    models = ModuleType("torchxrayvision.models")
    models.DenseNet = DenseNet
    monkeypatch.setitem(sys.modules, "torchxrayvision", ModuleType("torchxrayvision"))
    monkeypatch.setitem(sys.modules, "torchxrayvision.models", models)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pt"


STATE = {
    "features.0.weight": torch.tensor([0.5, -0.5, 0.25])[:, None, None, None],
    "features.0.bias": torch.tensor([1.0, 1.0, -300.0]),
}


def features_of(path, sha256=None):
    encoder = XrayEncoder(str(path), sha256, size=4, device="cpu")
    image = torch.tensor([0.5, 0.75, 1.0])[None, :, None, None].expand(1, 3, 4, 4)  # mean 0.75, or 512 of 1024
    return encoder.encode(image)[0].tolist()


EXPECTED = [257.0, 0.0, 0.0]  # relu of 0.5 * 512 + 1, -0.5 * 512 + 1 and 0.25 * 512 - 300


def test_plain_state_dict_loads(path):
    torch.save(STATE, path)
    assert features_of(path) == EXPECTED


def test_missing_file_says_how_to_make_it(path):
    with pytest.raises(EncoderError, match=r"does not exist\. Make it once, .*state_dict\(\), '.*weights.pt'"):
        features_of(path)


def pickled(path):
    network = DenseNet(18)
    network.load_state_dict(STATE, strict=False)
    torch.save(network, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_pickled_model_needs_its_digest(path):
    digest = pickled(path)
    with pytest.raises(EncoderError, match="pickled model, which could run code"):
        features_of(path)
    assert features_of(path, digest.upper()) == EXPECTED


def test_refused_file_runs_nothing(path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(path.parent / "ran"),)

    torch.save({"features.0.weight": Harmful()}, path)
    with pytest.raises(EncoderError, match="which could run code"):
        features_of(path)
    assert not (path.parent / "ran").exists()


def test_another_digest_is_refused_unread(path, monkeypatch):
    digest = pickled(path)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(EncoderError, match=f"has the SHA-256 {digest}, but the config pins {'0' * 64}"):
        features_of(path, "0" * 64)


def test_state_dict_that_lacks_tensors_is_refused(path):
    torch.save({"features.0.weight": STATE["features.0.weight"], "classifier.bias": torch.zeros(18)}, path)
    with pytest.raises(EncoderError, match=r"lacks 1 tensors of the DenseNet, e\.g\. features\.0\.bias"):
        features_of(path)


def test_missing_package_says_how_to_install_it(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchxrayvision.models", None)
    with pytest.raises(EncoderError, match=r"pip install 'memcontrol\[xray\]'"):
        features_of(path)
