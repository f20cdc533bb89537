"""Stop a trial that finished ones beat at the same step, beyond intervals."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from memcontrol.callbacks.rewards import scorers
from memcontrol.files.atomic import write_json
from memcontrol.files.journal import Journal
from memcontrol.files.run_folder import PRUNED
from memcontrol.search.pruning import is_hopeless
from memcontrol.search.records import TrialLog

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
        self._trials: TrialLog | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the last point with those of finished trials at the same step."""
        found = scorers(trainer)
        is_last = trainer.global_step >= trainer.max_steps > 0
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or not found or is_last:
            return
        if found[0].scored_step != trainer.global_step:
            return  # this validation was not scored
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        scales = [{m.name: m for m in scored if m.value is not None} for scored in found[0].scored.values()]
        if any(name not in measured for measured in scales for name in self.objectives):
            return
        if self._trials is None:
            self._trials = TrialLog(Journal(Path(self.journal)))
        points = [point for record in self._trials.all() for point in record.points]
        others = [point for point in points if point.step == trainer.global_step]
        is_beaten = all(is_hopeless([measured[name] for name in self.objectives], others) for measured in scales)
        if trainer.strategy.broadcast(is_beaten) and log_dir is not None:  # the journal may grow between two looks
            trainer.should_stop = True
            if trainer.is_global_zero:
                write_json(Path(log_dir) / PRUNED, {"step": trainer.global_step})
