"""Average what is trained; validation, samples and checkpoints use the average."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from diffusers.training_utils import EMAModel
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from memcontrol.described import Described
from memcontrol.module import MemControlModule

__all__ = ["EMACallback", "averaged"]

log = logging.getLogger("memcontrol")


class EMACallback(Described, Callback):
    """Exponential moving average of the trained parameters only; it changes what a checkpoint holds.

    As in Lightning's WeightAveraging, a checkpoint's `state_dict` holds the average and
    `current_model_state` the weights that training goes on from.

    Args:
        decay: Largest decay; the decay rises to it over the first steps.
    """

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = decay
        self.average: EMAModel | None = None
        self._last_step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say that checkpoints hold an average: a run cannot go on without it."""
        if stage == "fit" and isinstance(pl_module, MemControlModule):
            pl_module.is_averaged = True

    def state_dict(self) -> dict[str, Any]:
        """Return the decay, to say where a resumed run has another."""
        return {"decay": self.decay}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the config's decay, and say so."""
        if state_dict["decay"] != self.decay:
            log.warning("The run goes on with EMACallback's `decay` %s instead of %s", self.decay, state_dict["decay"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start at the present weights, or where another `fit` of the same trainer has ended."""
        if self.average is None:
            self.average = self._start(pl_module)
        self.average.to(device=pl_module.device)
        self._swap_out(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count steps from here, so that a batch that only accumulates is no step after resuming either."""
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average after each optimizer step."""
        if self.average is not None and trainer.global_step != self._last_step:
            self._last_step = trainer.global_step
            self.average.step(self._trained(pl_module))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._swap_in(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train on with the weights themselves."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._swap_out(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End with the average as the module's weights; the weights themselves are kept for the last checkpoint."""
        self._swap_in(pl_module)

    @contextmanager
    def averaged(self, pl_module: LightningModule) -> Iterator[None]:
        """Use the average inside the block, whether or not it is in use already."""
        if self.is_swapped:
            yield
            return
        self._swap_in(pl_module)
        try:
            yield
        finally:
            self._swap_out(pl_module)

    @property
    def is_swapped(self) -> bool:
        """Whether the module holds the average at present."""
        return self.average is not None and self.average.temp_stored_params is not None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average where inference looks, and keep the weights for training."""
        assert isinstance(pl_module, MemControlModule)
        if self.average is None:
            return
        names = [f"unet.{name}" for name in pl_module.adapted.trainable()]
        present = self.average.temp_stored_params or [checkpoint["state_dict"][name] for name in names]
        checkpoint["current_model_state"] = dict(zip(names, present, strict=True))
        for name, value in zip(names, self.average.shadow_params, strict=True):
            checkpoint["state_dict"][name] = value.detach().clone()
        checkpoint["ema_step"] = self.average.optimization_step

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on from both; Lightning has loaded the average into the module by now."""
        if "current_model_state" not in checkpoint or trainer.state.fn != TrainerFn.FITTING:
            return
        assert isinstance(pl_module, MemControlModule)
        averaged = checkpoint["state_dict"]
        names = [f"unet.{name}" for name in pl_module.adapted.trainable()]
        self.average = self._start(pl_module)
        self.average.shadow_params = [averaged[name].float().clone() for name in names]
        self.average.optimization_step = checkpoint["ema_step"]
        self.average.to(device=pl_module.device)
        checkpoint["state_dict"] = checkpoint["current_model_state"]
        trainer.strategy.load_model_state_dict(checkpoint, strict=pl_module.strict_loading)

    def _start(self, pl_module: LightningModule) -> EMAModel:
        average = EMAModel(self._trained(pl_module), decay=self.decay, use_ema_warmup=True, power=0.75)
        # steps of an average are too small for half precision
        average.shadow_params = [value.float() for value in average.shadow_params]
        return average

    def _swap_in(self, pl_module: LightningModule) -> None:
        if self.average is not None and not self.is_swapped:
            self.average.store(self._trained(pl_module))
            self.average.copy_to(self._trained(pl_module))

    def _swap_out(self, pl_module: LightningModule) -> None:
        if self.average is not None and self.is_swapped:
            self.average.restore(self._trained(pl_module))

    def _trained(self, pl_module: LightningModule) -> list[Any]:
        assert isinstance(pl_module, MemControlModule)
        return list(pl_module.adapted.trainable().values())


@contextmanager
def averaged(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Use the average inside the block, if the trainer averages; callbacks draw alike wherever they are listed."""
    found = [callback for callback in trainer.callbacks if isinstance(callback, EMACallback)]  # type: ignore[attr-defined]
    with found[0].averaged(pl_module) if found else nullcontext():
        yield
