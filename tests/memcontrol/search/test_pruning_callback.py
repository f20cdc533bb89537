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
    scorer.scored = {1.0: [Measurement(n, "quality", value, None, False) for n in ("membership_auc", "kid")]}
    scorer.scored_step = scored
    trainer = SimpleNamespace(
        callbacks=[scorer], global_step=4, max_steps=9,
        sanity_checking=False, state=SimpleNamespace(fn=TrainerFn.FITTING), log_dir=str(tmp_path), should_stop=False,
        is_global_zero=True, strategy=SimpleNamespace(broadcast=lambda value: value),
    )  # fmt: skip
    PruningCallback(str(tmp_path / "journal.jsonl"), ["membership_auc", "kid"]).on_validation_end(trainer, None)
    assert trainer.should_stop is stops
    assert (tmp_path / "pruned.json").exists() is stops


def test_a_trial_goes_on_if_it_is_hopeless_at_one_scale_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "is_hopeless", lambda mine, _: mine[0].value.value > 1)
    scorer = RewardsCallback()
    scorer.scored_step = 4
    scorer.scored = {
        scale: [Measurement("kid", "quality", Interval(2 * scale, 0.0, 3.0, 9), None, False)] for scale in (0.25, 1.0)
    }
    trainer = SimpleNamespace(
        callbacks=[scorer], global_step=4, max_steps=9,
        sanity_checking=False, state=SimpleNamespace(fn=TrainerFn.FITTING), log_dir=str(tmp_path), should_stop=False,
        is_global_zero=True, strategy=SimpleNamespace(broadcast=lambda value: value),
    )  # fmt: skip
    PruningCallback(str(tmp_path / "journal.jsonl"), ["kid"]).on_validation_end(trainer, None)
    assert not trainer.should_stop
