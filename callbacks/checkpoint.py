"""Save what is trained: small checkpoints, and a PEFT folder at the end."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from memcontrol.module import MemControlModule

__all__ = ["AdapterCheckpoint"]

log = logging.getLogger("memcontrol")


class AdapterCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, which also writes `adapter/` into the run folder when training ends.

    Args:
        every_n_train_steps: Steps between checkpoints.
        save_top_k: How many to keep; -1 keeps all.
        kwargs: See `lightning.pytorch.callbacks.ModelCheckpoint`.
    """

    def __init__(self, every_n_train_steps: int = 500, save_top_k: int = 1, **kwargs: Any) -> None:
        kwargs.setdefault("filename", "step-{step:07d}")
        kwargs.setdefault("auto_insert_metric_name", False)
        if save_top_k > 0:
            kwargs.setdefault("monitor", "step")
            kwargs.setdefault("mode", "max")
        super().__init__(every_n_train_steps=every_n_train_steps, save_top_k=save_top_k, **kwargs)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last checkpoint, the PEFT folder and the record beside it."""
        super().on_train_end(trainer, pl_module)
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if trainer.fast_dev_run or log_dir is None:  # type: ignore[attr-defined]
            return
        last = Path(log_dir) / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(last)
        if not trainer.is_global_zero or not isinstance(pl_module, MemControlModule):
            return
        if pl_module.adapted.peft_model is not None:
            folder = Path(log_dir) / "adapter"
            pl_module.adapted.save(folder)
            pl_module.card().write(folder)
        log.info("The run is in %s", log_dir)
