"""Trainings that have diverged: what is not finite is found at its step, and never saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from memcontrol.errors import CheckpointError, DivergedError
from memcontrol.files.checkpoints import find_checkpoint

__all__ = ["check_checkpoint", "diverged", "is_finite"]

SAVED = ("state_dict", "current_model_state", "optimizer_states")
"""Parts of a checkpoint that hold what was trained."""


def diverged(trainer: Trainer, what: str) -> DivergedError:
    """Return the error of a training that has diverged; all processes must ask for it.

    Args:
        trainer: The trainer.
        what: What is not finite.
    """
    log_dir = trainer.log_dir
    try:
        kept = f"The last good checkpoint is {find_checkpoint(Path(log_dir or '.'))}."
    except CheckpointError:
        kept = "No checkpoint was saved before."
    return DivergedError(
        f"Training has diverged: at step {trainer.global_step}, {what}. {kept} Lower `model.optimizer.lr`, or clip "
        "gradients with `trainer.gradient_clip_val`."
    )


def is_finite(value: Any) -> bool:
    """Whether all tensors in a nested collection are finite."""
    found: list[bool] = []
    apply_to_collection(value, Tensor, lambda tensor: found.append(bool(tensor.isfinite().all())))
    return all(found)


def check_checkpoint(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Raise a DivergedError if a checkpoint would hold weights, averages or moments that are not finite."""
    for part in SAVED:
        if not is_finite(checkpoint.get(part)):
            raise diverged(trainer, f"what is trained is not finite (`{part}`), so it was not saved")
