"""Compare the held-out loss with the untouched base's, image by image."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from memcontrol.described import Described
from memcontrol.errors import MemControlError
from memcontrol.files.atomic import write_json
from memcontrol.files.run_folder import HELDOUT
from memcontrol.measures.statistics.intervals import Interval, mean_interval
from memcontrol.module import MemControlModule

__all__ = ["BaselineCallback"]

log = logging.getLogger("memcontrol")


class BaselineCallback(Described, Callback):
    """Logs by how much the held-out denoising loss lies under the base's, with a paired interval over patients.

    The base's losses are computed once, with the adapter switched off, on the same images, noise and timesteps
    and in the same precision. Logged are `val/loss_base` and `val/gain` (base minus model: higher is better) with
    `val/gain_low` and `val/gain_high`; each is written to `heldout.json`, the last one printed.

    Raises:
        MemControlError: At the start, if the module computes no held-out loss.
    """

    def __init__(self) -> None:
        self._base: dict[int, float] = {}
        self._model: dict[int, float] = {}
        self._gain: Interval | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See that there will be losses to compare."""
        if isinstance(pl_module, MemControlModule) and not pl_module.eval_draws:
            raise MemControlError(
                "BaselineCallback compares held-out losses, but `model.eval_draws` is 0, so none are computed. Set it "
                "to 1 or more, or leave the callback out."
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last validation."""
        self._model.clear()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Gather the model's losses, and the base's where they are not known yet."""
        if trainer.sanity_checking or not isinstance(pl_module, MemControlModule):
            return
        index = batch["index"].tolist()
        self._model.update(zip(index, outputs["errors"].tolist(), strict=True))
        if any(i not in self._base for i in index):
            with pl_module.adapted.as_base(), trainer.precision_plugin.forward_context():
                errors = pl_module.heldout_errors(batch)
            self._base.update(zip(index, errors.tolist(), strict=True))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the paired difference; all processes see all images."""
        if trainer.sanity_checking or not self._model:
            return
        base, model = _gathered(self._base), _gathered(self._model)
        rows = sorted(model)
        table = trainer.datamodule.table("validate")  # type: ignore[attr-defined]
        subjects = [str(table["subject_id"].iat[row]) for row in rows]
        self._gain = mean_interval([base[row] - model[row] for row in rows], subjects)
        values = {
            "val/loss_base": sum(base[row] for row in rows) / len(rows),
            "val/gain": self._gain.value,
            "val/gain_low": self._gain.low,
            "val/gain_high": self._gain.high,
        }
        self._values = {**values, "val/loss": sum(model.values()) / len(rows), "patients": self._gain.n}
        pl_module.log_dict(values, rank_zero_only=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the comparison before the checkpoint of this step, from which a run goes on without making it anew."""
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        is_fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if is_fitting and self._gain is not None and trainer.is_global_zero and log_dir is not None:
            write_json(Path(log_dir) / HELDOUT, self._values)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last comparison."""
        if self._gain is None or not trainer.is_global_zero:
            return
        log.info(
            "Held-out denoising loss %.4f, the untouched base's %.4f; lower by %s (95 %% interval over %d patients)",
            self._values["val/loss"],
            self._values["val/loss_base"],
            self._gain,
            self._gain.n,
        )


def _gathered(values: dict[int, float]) -> dict[int, float]:
    if not (dist.is_available() and dist.is_initialized()):
        return dict(values)
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, values)
    return {row: value for part in parts for row, value in part.items()}
