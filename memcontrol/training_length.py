"""How many steps a training takes, for schedules that must know."""

from __future__ import annotations

import math

from lightning.pytorch import Trainer

from memcontrol.errors import MemControlError

__all__ = ["num_steps"]


def num_steps(trainer: Trainer, schedule: str) -> int:
    """Return the optimizer's steps of a training.

    Args:
        trainer: The trainer.
        schedule: Name of the schedule of the learning rate.

    Returns:
        The number of steps; 0 where only time or the user ends the training and the schedule needs no end.

    Raises:
        MemControlError: If the schedule needs an end and there is none.
    """
    steps = trainer.estimated_stepping_batches
    if math.isfinite(steps):
        return int(steps)
    if schedule.startswith("constant"):
        return 0
    raise MemControlError(
        f"Argument `model.optimizer.schedule` is {schedule!r}, which must know where training ends, but "
        f"`trainer.max_steps` is {trainer.max_steps} and `trainer.max_epochs` is {trainer.max_epochs}. Give one of "
        "them, or a schedule that needs no end: `constant` or `constant_with_warmup`."
    )
