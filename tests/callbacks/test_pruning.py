"""A trial is compared under what was measured of its present weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from lightning.pytorch.trainer.states import TrainerFn

import callbacks.pruning as module
from callbacks import PruningCallback


@pytest.mark.parametrize(("scored", "stops"), [(4, True), (2, False)])
def test_a_validation_that_is_not_scored_stops_nothing(tmp_path, monkeypatch, scored, stops):
    monkeypatch.setattr(module, "is_hopeless", lambda *_: True)
    measures = [SimpleNamespace(name=name, value=1.0) for name in ("membership_auc", "kid")]
    trainer = SimpleNamespace(
        callbacks=[SimpleNamespace(measures=measures, scored_step=scored)], global_step=4, max_steps=9,
        sanity_checking=False, state=SimpleNamespace(fn=TrainerFn.FITTING), log_dir=str(tmp_path), should_stop=False,
        is_global_zero=True, strategy=SimpleNamespace(broadcast=lambda value: value),
    )  # fmt: skip
    PruningCallback(str(tmp_path / "journal.jsonl"), ["membership_auc", "kid"]).on_validation_end(trainer, None)
    assert trainer.should_stop is stops
    assert (tmp_path / "pruned.json").exists() is stops
