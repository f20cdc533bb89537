"""Keep the checkpoints that no other point of the run dominates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from memcontrol.callbacks.rewards import scorers
from memcontrol.files.atomic import replacing, write_json
from memcontrol.files.run_folder import PARETO, pareto_checkpoint
from memcontrol.measures.statistics.pareto import dominates

__all__ = ["ParetoCheckpoint"]


class ParetoCheckpoint(Callback):
    """Writes `pareto/step-NNNNNNN.ckpt` after a scored validation, and removes what it beats.

    They hold what is trained, to be scored and drawn with, and no optimizer: training goes on from `checkpoints/`.
    Stopping earlier is a way of memorizing less too, so each validation is a point of its own. Put it after
    `RewardsCallback` in the config; a validation that it does not score is no point.

    Args:
        rewards: Names of logged rewards, or of measures of `RewardsCallback`; higher is better for each reward.
    """

    def __init__(self, rewards: tuple[str, ...] = ("reward/memorization", "reward/quality")) -> None:
        self.rewards = rewards
        self.points: dict[int, tuple[float, ...]] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Consider a point that was scored on resuming, since its validation had been cut off."""
        if any(scorer.scored_step == trainer.global_step > 0 for scorer in scorers(trainer)):
            self._consider(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint if nothing dominates it."""
        if not trainer.sanity_checking and trainer.state.fn == TrainerFn.FITTING:
            self._consider(trainer)

    def _consider(self, trainer: Trainer) -> None:
        known: dict[str, Any] = dict(trainer.callback_metrics)
        for scorer in scorers(trainer):
            if scorer.scored_step != trainer.global_step:
                return  # the trainer's metrics still hold rewards of earlier weights
            known |= scorer.rewards()
        if any(name not in known for name in self.rewards) or trainer.global_step in self.points:
            return
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        point = tuple(float(known[name]) for name in self.rewards)
        if log_dir is None or any(dominates(other, point) for other in self.points.values()):
            return
        run = Path(log_dir)
        beaten = [step for step, other in self.points.items() if dominates(point, other)]
        self.points = {step: other for step, other in self.points.items() if step not in beaten}
        self.points[trainer.global_step] = point
        path = pareto_checkpoint(run, trainer.global_step)
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            _drop_optimizer(path)
            for step in beaten:
                pareto_checkpoint(run, step).unlink(missing_ok=True)
            front = [{"step": step, **dict(zip(self.rewards, p, strict=True))} for step, p in self.points.items()]
            write_json(run / PARETO / "front.json", front)

    def state_dict(self) -> dict[str, Any]:
        """Return the points that are kept."""
        return {"points": {str(step): list(point) for step, point in self.points.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self.points = {int(step): tuple(point) for step, point in state_dict["points"].items()}


def _drop_optimizer(path: Path) -> None:
    """Rewrite a checkpoint without its optimizer, which is two thirds of it."""
    if path.is_dir():  # sharded
        return
    content = torch.load(path, map_location="cpu", weights_only=True)
    content["optimizer_states"] = []
    with replacing(path) as partial:
        torch.save(content, partial)
