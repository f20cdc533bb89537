"""Whether a validation follows the present step, and whether one was cut off before it was scored."""

from __future__ import annotations

from collections.abc import Collection

from lightning.pytorch import Trainer

__all__ = ["is_overdue", "validates_at"]


def validates_at(trainer: Trainer, batches: int) -> bool:
    """Tell whether a validation follows after so many batches, where validations are counted in them.

    Args:
        trainer: The trainer.
        batches: Batches since the run began.
    """
    interval = trainer.val_check_batch
    if trainer.check_val_every_n_epoch is not None or not trainer.enable_validation:
        return False
    return isinstance(interval, int) and batches % interval == 0


def is_overdue(trainer: Trainer, scored: Collection[int]) -> bool:
    """Tell whether a score of the present step was due and is not there.

    Args:
        trainer: The trainer, before its first step.
        scored: Steps that were scored.
    """
    step = trainer.global_step
    if step == 0 or trainer.check_val_every_n_epoch is not None or step in scored:
        return False
    return step == trainer.max_steps or validates_at(trainer, trainer.fit_loop.epoch_loop.total_batch_idx + 1)
