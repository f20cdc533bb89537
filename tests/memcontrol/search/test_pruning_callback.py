"""A trial is compared under what was measured of its present weights."""

from types import SimpleNamespace

import pytest
from lightning.pytorch.trainer.states import TrainerFn

from memcontrol.callbacks import RewardsCallback
from memcontrol.measures import Measurement
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.search import pruning_callback as module
from memcontrol.search.pruning_callback import PruningCallback


@pytest.mark.parametrize(("scored", "stops"), [(4, True), (2, False)])
def test_a_validation_that_is_not_scored_stops_nothing(tmp_path, monkeypatch, scored, stops):
    monkeypatch.setattr(module, "is_hopeless", lambda *_: True)
    scorer = RewardsCallback()
    value = Interval(1.0, 0.9, 1.1, 9)
    scorer.measurements = [Measurement(n, "quality", value, None, False) for n in ("membership_auc", "kid")]
    scorer.scored_step = scored
    trainer = SimpleNamespace(
        callbacks=[scorer], global_step=4, max_steps=9,
        sanity_checking=False, state=SimpleNamespace(fn=TrainerFn.FITTING), log_dir=str(tmp_path), should_stop=False,
        is_global_zero=True, strategy=SimpleNamespace(broadcast=lambda value: value),
    )  # fmt: skip
    PruningCallback(str(tmp_path / "journal.jsonl"), ["membership_auc", "kid"]).on_validation_end(trainer, None)
    assert trainer.should_stop is stops
    assert (tmp_path / "pruned.json").exists() is stops
