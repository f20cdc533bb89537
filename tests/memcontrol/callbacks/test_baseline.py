"""The base is compared in the precision of the model."""

from __future__ import annotations

import torch

from memcontrol.cli import main
from memcontrol.module import MemControlModule
from tests.conf import short_run


def test_the_base_is_scored_in_the_precision_of_the_model(tmp_path, monkeypatch):
    seen, errors = [], MemControlModule.heldout_errors

    def spy(self, batch):
        seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return errors(self, batch)

    monkeypatch.setattr(MemControlModule, "heldout_errors", spy)
    args = [a for a in short_run(tmp_path, "--trainer.precision=bf16-mixed") if "callbacks" not in a]
    main([*args, "--trainer.callbacks=[callbacks.BaselineCallback]", "--trainer.max_steps=3"])
    assert len(seen) == 2  # one batch: the model's, and the base's
    assert set(seen) == {(True, torch.bfloat16)}
