"""Keep the checkpoints that no other point of the run dominates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from memcontrol.callbacks.rewards import scorers
from memcontrol.described import Described
from memcontrol.files.atomic import write_json
from memcontrol.files.checkpoints import drop_optimizer
from memcontrol.files.run_folder import PARETO, pareto_checkpoint
from memcontrol.measures.statistics.pareto import dominates

__all__ = ["ParetoCheckpoint"]


class ParetoCheckpoint(Described, Callback):
    """Writes `pareto/step-NNNNNNN.ckpt` after a scored validation, and removes what it beats.

    They hold what is trained, to be scored and drawn with, and no optimizer: training goes on from `checkpoints/`.
    Stopping earlier is a way of memorizing less too, so each validation is a point of its own. Put it after
    `RewardsCallback` in the config; a validation that it does not score is no point.

    Args:
        rewards: Names of logged rewards, or of measures of `RewardsCallback`; higher is better for each reward.
    """

    def __init__(self, rewards: tuple[str, ...] = ("reward/memorization", "reward/quality")) -> None:
        self.rewards = rewards
        self.points: dict[tuple[int, float], tuple[float, ...]] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Consider a point that was scored on resuming, since its validation had been cut off."""
        if any(scorer.scored_step == trainer.global_step > 0 for scorer in scorers(trainer)):
            self._consider(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint if nothing dominates it."""
        is_fitting = not trainer.sanity_checking and trainer.state.fn == TrainerFn.FITTING
        if is_fitting and getattr(pl_module, "has_last_weights", True):
            self._consider(trainer)

    def _consider(self, trainer: Trainer) -> None:
        """Keep the weights if the model, at one of the scales at which it was scored, is beaten by no other point."""
        step, points = trainer.global_step, self._points(trainer)
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if log_dir is None or any(known == step for known, _ in self.points):
            return
        found = {key: point for key, point in points.items() if not self._is_beaten(point, points)}
        if not found:
            return
        run, before = Path(log_dir), {known for known, _ in self.points}
        self.points = {key: p for key, p in self.points.items() if not any(dominates(q, p) for q in found.values())}
        self.points |= found
        path = pareto_checkpoint(run, step)
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            drop_optimizer(path)
            for beaten in before - {known for known, _ in self.points}:
                pareto_checkpoint(run, beaten).unlink(missing_ok=True)
            front = [
                {"step": of, **({} if scale == 1 else {"scale": scale}), **dict(zip(self.rewards, p, strict=True))}
                for (of, scale), p in self.points.items()
            ]
            write_json(run / PARETO / "front.json", front)

    def _points(self, trainer: Trainer) -> dict[tuple[int, float], tuple[float, ...]]:
        """Return the rewards at each scale; none where a scorer has not scored these weights."""
        known: dict[str, Any] = dict(trainer.callback_metrics)
        found: dict[float, dict[str, Any]] = {}
        for scorer in scorers(trainer):
            if scorer.scored_step != trainer.global_step:
                return {}  # the trainer's metrics still hold rewards of earlier weights
            for scale in scorer.scored:
                found[scale] = found.get(scale, known) | scorer.rewards(scale)
        return {
            (trainer.global_step, scale): tuple(float(rewards[name]) for name in self.rewards)
            for scale, rewards in (found or {1.0: known}).items()
            if all(name in rewards for name in self.rewards)
        }

    def _is_beaten(self, point: tuple[float, ...], others: dict[tuple[int, float], tuple[float, ...]]) -> bool:
        return any(dominates(other, point) for other in (*self.points.values(), *others.values()))

    def state_dict(self) -> dict[str, Any]:
        """Return the points that are kept."""
        return {"points": {f"{step}" if scale == 1 else f"{step}x{scale!r}": list(point)
                           for (step, scale), point in self.points.items()}}  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        keys = {key: key.partition("x") for key in state_dict["points"]}
        self.points = {
            (int(step), float(scale or 1)): tuple(state_dict["points"][key]) for key, (step, _, scale) in keys.items()
        }
