"""What a run spends its time on."""

from __future__ import annotations

import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from memcontrol.callbacks.rewards import scorers
from memcontrol.files.atomic import write_json
from memcontrol.files.run_folder import TIMING

__all__ = ["TimingCallback"]


class TimingCallback(Callback):
    """Writes `timing.json`: seconds of training, of sampling, of scoring samples, and of the rest of validation.

    Put it last. Lightning's `Timer` stops runs, and its options do not survive an appended config.
    """

    def __init__(self) -> None:
        self.training = 0.0
        self.validating = 0.0
        self._started = 0.0
        self._validation_started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of validation."""
        self._validation_started = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock of validation."""
        self.validating += time.monotonic() - self._validation_started

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.training = time.monotonic() - self._started

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the seconds."""
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if trainer.is_global_zero and log_dir is not None:
            write_json(Path(log_dir) / TIMING, self.seconds(trainer))

    def seconds(self, trainer: Trainer) -> dict[str, float]:
        """Return seconds by what they were spent on."""
        parts = [scorer.seconds for scorer in scorers(trainer)]
        spent = {name: sum(part[name] for part in parts) for name in ("sampling", "scoring", "validation")}
        return {
            "training": self.training - self.validating,
            "sampling": spent["sampling"],
            "scoring": spent["scoring"] - spent["sampling"],
            "validation": max(0.0, self.validating - spent["validation"]),
        }
