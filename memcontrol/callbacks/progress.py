"""One bar from the first step to the last, with the time that is left, the loss and the last rewards."""

from __future__ import annotations

import sys
from typing import Any, Final

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from tqdm import tqdm

__all__ = ["StepProgressBar"]

SHOWN: Final = {
    "train/loss": "loss",
    "val/loss": "held-out",
    "reward/memorization": "memorization",
    "reward/quality": "quality",
}
"""Logged numbers that the bar shows, and as what; rewards are better when higher."""
SECONDS: Final = (0.5, 30.0)
"""Between two looks of the bar, on a terminal and in a file."""


class StepProgressBar(ProgressBar):
    """Counts optimizer steps to the end of training, in place of Lightning's bar of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: tqdm[Any] | None = None

    @property
    def is_enabled(self) -> bool:
        """Whether it is shown."""
        return self._enabled

    @property
    def is_disabled(self) -> bool:
        """Whether it is not."""
        return not self._enabled

    def disable(self) -> None:
        """Show nothing: on other ranks, or where a run asks for no bar."""
        self._enabled = False

    def enable(self) -> None:
        """Show it."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin where the run is."""
        steps = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
        self._bar = tqdm(
            total=int(steps) if steps != float("inf") else None,
            initial=trainer.global_step,
            desc="training",
            unit="step",
            disable=self.is_disabled,
            mininterval=SECONDS[0 if sys.stderr.isatty() else 1],
            dynamic_ncols=True,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count."""
        self._show(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what takes so long."""
        if self._bar is not None and trainer.state.fn == TrainerFn.FITTING:
            self._bar.set_description("validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on."""
        if self._bar is not None and trainer.state.fn == TrainerFn.FITTING:
            self._bar.set_description("training", refresh=False)
            self._show(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last numbers."""
        self._end(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the last numbers."""
        self._end(trainer)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print without breaking the bar."""
        tqdm.write(" ".join(map(str, args)), file=sys.stderr)

    def _show(self, trainer: Trainer) -> None:
        if self._bar is None or self.is_disabled:
            return
        known = trainer.callback_metrics
        self._bar.set_postfix({as_: f"{float(known[name]):.3g}" for name, as_ in SHOWN.items() if name in known}, False)
        self._bar.n = trainer.global_step
        self._bar.update(0)

    def _end(self, trainer: Trainer) -> None:
        if self._bar is not None:
            self._show(trainer)
            self._bar.close()
            self._bar = None
