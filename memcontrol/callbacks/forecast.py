"""Say before the first step what an audit of the run will be able to find."""

from __future__ import annotations

import logging

from lightning.pytorch import Callback, LightningModule, Trainer

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.measures.forecast import forecast

__all__ = ["AuditForecast"]

log = logging.getLogger("memcontrol")


class AuditForecast(Callback):
    """Says what an audit of the run will be able to find: nobody trains for a week what cannot be audited.

    Every `fit` of the command line has one.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the patients."""
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, CaptionedImageDataModule) or not trainer.is_global_zero:
            return
        training, heldout = (data.table(split)["subject_id"].nunique() for split in ("train", "test"))
        found = forecast(training, heldout, data.split_at_random)
        for line in found.lines():
            log.log(logging.INFO if found.is_enough else logging.WARNING, line)
