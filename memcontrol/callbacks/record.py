"""Keep which patients a run was made with, in digests."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.patients import write_patients_record

__all__ = ["PatientRecord"]


class PatientRecord(Callback):
    """Writes `patients.npz` into the run folder, from which `withdraw` finds what was made with a patient's images.

    Every `fit` of the command line has one. It holds no id, caption or image.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it before the first step: a run that dies has one, too."""
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        data = getattr(trainer, "datamodule", None)
        if log_dir is not None and trainer.is_global_zero and isinstance(data, CaptionedImageDataModule):
            write_patients_record(Path(log_dir), data)
