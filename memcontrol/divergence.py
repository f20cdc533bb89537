"""Trainings that have diverged: what is not finite is found at its step, and never saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from memcontrol.errors import CheckpointError, DivergedError
from memcontrol.files.checkpoints import find_checkpoint

__all__ = ["diverged", "refuse_what_is_not_finite"]

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


def refuse_what_is_not_finite(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Raise a DivergedError if a checkpoint would hold weights, averages or moments that are not finite."""
    for part in SAVED:
        if not all(bool(value.isfinite().all()) for value in _tensors(checkpoint.get(part))):
            raise diverged(trainer, f"what is trained is not finite (`{part}`), so it was not saved")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
