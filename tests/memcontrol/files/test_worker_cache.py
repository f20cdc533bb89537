"""What a worker keeps is the same for each trial."""

from __future__ import annotations

import torch

from memcontrol import MemControlModule
from memcontrol.files import worker_cache


def test_a_base_that_a_trainer_has_cast_is_read_again(monkeypatch):
    monkeypatch.setattr(worker_cache, "_enabled", True)
    monkeypatch.setattr(worker_cache, "_store", {})
    first, second = MemControlModule(base="embedded"), MemControlModule(base="embedded")
    first.configure_model()
    first.to(torch.bfloat16)  # as Lightning does under `bf16-true`
    second.configure_model()
    assert second.unet.dtype == torch.float32
    assert second.base_fingerprint == first.base_fingerprint
