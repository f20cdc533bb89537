"""A callback that kills its own process, as a node that dies at night does."""

from __future__ import annotations

import os
import signal

from lightning.pytorch import Callback


class Killer(Callback):
    def __init__(self, at_step: int) -> None:
        self.at_step = at_step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.at_step:
            os.kill(os.getpid(), signal.SIGKILL)


class Raiser(Callback):
    """Raises an error with a canary in its text."""

    def __init__(self, at_step: int) -> None:
        self.at_step = at_step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.at_step:
            raise RuntimeError("canaryerror")


class RaisesFor(Callback):
    """Raises in trials whose mask has so many bits on."""

    def __init__(self, mask_sum: int) -> None:
        self.mask_sum = mask_sum

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if sum(pl_module.mask.bits) == self.mask_sum:
            raise RuntimeError("planted")
