"""Time the steps and the validation of a rehearsal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from memcontrol.files.atomic import write_json

__all__ = ["REHEARSED", "RehearsalCallback"]

REHEARSED: Final = "rehearsed.json"
WARM_UP: Final = 2
"""Steps that are left out: they compile, allocate, and wait for the first batches."""


class RehearsalCallback(Callback):
    """Writes `rehearsed.json`: seconds per optimizer step, after the first few, and per validation.

    Put it last, so that a validation is timed with all that other callbacks do in it.
    """

    def __init__(self) -> None:
        self.validation = 0.0
        self._steps = 0
        self._began = self._ended = self._validation_began = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock after the warm-up, and stop it at each step; what a GPU still has to do is waited for."""
        begins = trainer.global_step == WARM_UP and not self._began  # a step may have several batches
        if not begins and trainer.global_step != trainer.max_steps:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if begins:
            self._began = time.monotonic()
        self._ended, self._steps = time.monotonic(), trainer.global_step - WARM_UP

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of validation."""
        self._validation_began = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock of validation."""
        if not trainer.sanity_checking:
            self.validation = time.monotonic() - self._validation_began

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the seconds."""
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if trainer.is_global_zero and log_dir is not None and self._steps:
            step = (self._ended - self._began) / self._steps
            write_json(Path(log_dir) / REHEARSED, {"step": step, "validation": self.validation})
