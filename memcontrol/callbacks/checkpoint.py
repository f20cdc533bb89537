"""Save what is trained: small checkpoints, and a PEFT folder at the end."""

from __future__ import annotations

import logging
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from memcontrol.callbacks.overdue import validates_at
from memcontrol.callbacks.requeue import RequeueSignal
from memcontrol.described import Described
from memcontrol.exports.model_card import write_model_card
from memcontrol.files.run_folder import ADAPTER, CHECKPOINTS
from memcontrol.module import MemControlModule

__all__ = ["AdapterCheckpoint"]

log = logging.getLogger("memcontrol")


class AdapterCheckpoint(Described, ModelCheckpoint):
    """Lightning's ModelCheckpoint, which also writes `adapter/` into the run folder when training ends.

    Args:
        every_n_train_steps: Steps between checkpoints.
        save_top_k: How many to keep; -1 keeps all.
        monitor: Logged value that says which are kept; by default the newest are.
        mode: Whether `min` or `max` of the value is best.
        filename: Pattern of file names; by default `step-{step:07d}`.
        kwargs: See `lightning.pytorch.callbacks.ModelCheckpoint`.
    """

    def __init__(
        self,
        every_n_train_steps: int = 500,
        save_top_k: int = 1,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        filename: str | None = None,
        **kwargs: Any,
    ) -> None:
        # The command line passes every argument, so a default is what is None here.
        if filename is None:
            filename, kwargs["auto_insert_metric_name"] = "step-{step:07d}", False
        if monitor is None and save_top_k > 1:
            monitor, mode = "step", "max"
            kwargs["save_on_train_epoch_end"] = True  # else an epoch's last step waits for a validation
        super().__init__(
            every_n_train_steps=every_n_train_steps,
            save_top_k=save_top_k,
            monitor=monitor,
            mode=mode,
            filename=filename,
            **kwargs,
        )

        self._progress: dict[str, Any] = {}
        self._waiting: tuple[Any, Any, int] | None = None
        self._has_ended = False
        self._requeue = RequeueSignal()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        super().on_train_start(trainer, pl_module)
        self._has_ended = False
        self._requeue.defer(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save as Lightning does, and remember where in the data the run is.

        Where a validation follows, the checkpoint waits for its end: a run that is killed in between would go on after
        a validation that it never made.
        """
        self._progress = deepcopy(trainer.fit_loop.state_dict())
        ends = (outputs, batch, batch_idx)
        if validates_at(trainer, trainer.fit_loop.epoch_loop.total_batch_idx + 1):
            self._waiting = ends
        else:
            super().on_train_batch_end(trainer, pl_module, *ends)
            self._requeue.take(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what waited for it."""
        super().on_validation_end(trainer, pl_module)
        if self._waiting is not None and not trainer.sanity_checking:
            ends, self._waiting = self._waiting, None
            super().on_train_batch_end(trainer, pl_module, *ends)
            self._requeue.take(trainer)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Save, and with it the numbers that were logged so far: a checkpoint is what a run goes on from."""
        super()._save_checkpoint(trainer, filepath)
        for logger in trainer.loggers:
            logger.save()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let a longer run go on where the last step was: Lightning counts an epoch that was cut off as a whole one."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._has_ended and self._progress:
            checkpoint["loops"]["fit_loop"] = self._progress

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last checkpoint, the PEFT folder and the record beside it."""
        super().on_train_end(trainer, pl_module)
        self._has_ended = True
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if trainer.fast_dev_run or log_dir is None:  # type: ignore[attr-defined]
            return
        last = Path(log_dir) / CHECKPOINTS / "last.ckpt"
        trainer.save_checkpoint(last)
        self._write_adapter(trainer, pl_module, Path(log_dir))
        log.info("The run is in %s", log_dir)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the PEFT folder of a run that was cut off after its last step: resuming trains nothing then."""
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if self._has_ended or trainer.fast_dev_run or log_dir is None:  # type: ignore[attr-defined]
            return
        if trainer.global_step >= trainer.max_steps > 0:
            self._write_adapter(trainer, pl_module, Path(log_dir))

    def _write_adapter(self, trainer: Trainer, module: LightningModule, run: Path) -> None:
        if trainer.is_global_zero and isinstance(module, MemControlModule) and module.adapted.peft_model is not None:
            folder = run / ADAPTER
            (folder / "README.md").unlink(missing_ok=True)  # PEFT writes a card that it cannot read again
            module.adapted.save(folder)
            card = module.card()
            card.write(folder)
            write_model_card(folder, card)
