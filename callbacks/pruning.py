"""Stop a trial that finished ones beat at the same step, beyond intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from memcontrol.search.journal import Journal
from memcontrol.search.pruning import is_hopeless

__all__ = ["PruningCallback"]


class PruningCallback(Callback):
    """Multi-objective successive halving: stops a trial that finished ones beat at the same step, see `is_hopeless`.

    It stops training, which is all that it changes. Put it after `RewardsCallback`.

    Args:
        journal: Journal of the study.
        objectives: Measures that are traded off.
    """

    def __init__(self, journal: str, objectives: list[str]) -> None:
        self.journal = journal
        self.objectives = objectives

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the last point with those of finished trials at the same step."""
        scorers: list[Any] = [c for c in trainer.callbacks if hasattr(c, "measures")]  # type: ignore[attr-defined]
        is_last = trainer.global_step >= trainer.max_steps > 0
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or not scorers or is_last:
            return
        if scorers[0].scored_step != trainer.global_step:
            return  # this validation was not scored
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        measures = {m.name: m for m in scorers[0].measures}
        if any(name not in measures or measures[name].value is None for name in self.objectives):
            return
        mine = [measures[name] for name in self.objectives]
        others = [
            point
            for record in Journal(Path(self.journal)).trials()
            for point in record.points
            if point.step == trainer.global_step
        ]
        found = is_hopeless(mine, others, self.objectives)
        if trainer.strategy.broadcast(found) and log_dir is not None:  # the journal may grow between two ranks' looks
            trainer.should_stop = True
            if trainer.is_global_zero:
                (Path(log_dir) / "pruned.json").write_text(json.dumps({"step": trainer.global_step}) + "\n")
