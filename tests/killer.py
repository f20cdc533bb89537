"""A callback that kills its own process, as a node that dies at night does."""

from __future__ import annotations

import os
import signal
import time

import torch
from lightning.pytorch import Callback

from memcontrol.privacy.secret import Secret


class Killer(Callback):
    def __init__(self, at_step: int) -> None:
        self.at_step = at_step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.at_step:
            os.kill(os.getpid(), signal.SIGKILL)


class Spoiler(Callback):
    """Puts a value into trained weights after a step."""

    def __init__(self, at_step: int, value: float) -> None:
        self.at_step = at_step
        self.value = value

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.at_step:
            for parameter in pl_module.adapted.trainable().values():
                parameter.data.fill_(self.value)


class AtTheEnd(Callback):
    """Puts a value into trained weights after the last step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == trainer.max_steps:
            for parameter in pl_module.adapted.trainable().values():
                parameter.data.fill_(1e30)


class Raiser(Callback):
    """Prints a canary, and raises an error with another in its text."""

    def __init__(self, at_step: int) -> None:
        self.at_step = at_step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.at_step:
            print("canaryconsole", flush=True)
            raise RuntimeError("canaryerror")


class RaisesFor(Callback):
    """Raises in trials whose mask has so many bits on."""

    def __init__(self, mask_sum: int) -> None:
        self.mask_sum = mask_sum

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if sum(pl_module.mask.bits) == self.mask_sum:
            raise RuntimeError("planted")


class Planted(Callback):
    """Fails each trial of a study in another way, by its number."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        number = int(trainer.log_dir.rsplit("-", 1)[1])
        if number == 0:
            for parameter in pl_module.adapted.trainable().values():
                parameter.data.fill_(float("nan"))
        if number == 1 and pl_module._batch_size() == 8:
            raise torch.OutOfMemoryError("CUDA out of memory (planted)")
        if number == 3:
            os._exit(3)

    def on_validation_epoch_start(self, trainer, pl_module):
        if int(trainer.log_dir.rsplit("-", 1)[1]) == 2 and trainer.state.fn == "fit":
            raise ValueError("reward raises (planted)")


class Slow(Callback):
    """Waits before each step, as a trial on a larger model would take its time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        time.sleep(self.seconds)


class SameKey(Callback):
    """Gives a private run a key that a test knows."""

    def setup(self, trainer, pl_module, stage):
        pl_module.privacy.secret, pl_module.privacy._is_given = Secret(b"d" * 32), True
