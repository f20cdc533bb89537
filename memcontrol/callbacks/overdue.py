"""Whether a resumed run stands at a validation that was cut off before it was scored."""

from __future__ import annotations

from collections.abc import Collection

from lightning.pytorch import Trainer

__all__ = ["is_overdue"]


def is_overdue(trainer: Trainer, scored: Collection[int]) -> bool:
    """Tell whether a score of the present step was due and is not there.

    Args:
        trainer: The trainer, before its first step.
        scored: Steps that were scored.
    """
    step, interval = trainer.global_step, trainer.val_check_batch
    if step == 0 or trainer.check_val_every_n_epoch is not None or step in scored:
        return False
    batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    return step == trainer.max_steps or (isinstance(interval, int) and batches % interval == 0)
