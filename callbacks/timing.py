"""What a run spends its time on."""

from __future__ import annotations

import time

from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["TimingCallback"]


class TimingCallback(Callback):
    """Measures seconds from the first step to the last, and of validation among them.

    Lightning's `Timer` stops runs, and its options do not survive an appended config.
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
