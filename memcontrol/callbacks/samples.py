"""Sample the same prompts with the same seeds at every validation, as one picture."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torchvision.utils import make_grid, save_image

from memcontrol.callbacks.ema import averaged
from memcontrol.described import Described
from memcontrol.diffusion.sampling import SamplingOptions, sample
from memcontrol.files.run_folder import SAMPLES
from memcontrol.module import MemControlModule
from memcontrol.seeds import derive_seed

__all__ = ["SampleGridCallback"]


class SampleGridCallback(Described, Callback):
    """Writes `samples/step-NNNNNNN.png` into the run folder, and to TensorBoard, which stays on this machine.

    Args:
        prompts: Prompts; by default those of the first validation images.
        num_images: Images in the grid, where prompts are the default.
        every_n_validations: Sample at every n-th validation, and at the last.
        sampling: Steps, guidance and scheduler; by default the model's.
        columns: Images per row.
        seed: Seed of the pictures.
    """

    def __init__(
        self,
        prompts: list[str] | None = None,
        num_images: int = 16,
        every_n_validations: int = 1,
        sampling: SamplingOptions | None = None,
        columns: int = 8,
        seed: int = 0,
    ) -> None:
        self.prompts = prompts
        self.num_images = num_images
        self.every_n_validations = every_n_validations
        self.sampling = sampling
        self.columns = columns
        self.seed = seed
        self._count = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sample on the first process; the others go on."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        self._count += 1
        is_last = trainer.global_step >= trainer.max_steps > 0
        if (self._count - 1) % self.every_n_validations and not is_last:
            return
        if trainer.is_global_zero and log_dir is not None and isinstance(pl_module, MemControlModule):
            self._sample(trainer, pl_module, Path(log_dir) / SAMPLES)

    def _sample(self, trainer: Trainer, module: MemControlModule, folder: Path) -> None:
        prompts = self.prompts or self._default_prompts(trainer)
        seeds = [derive_seed(self.seed, "grid", i) for i in range(len(prompts))]
        options = self.sampling or module.sampling
        was_training = module.unet.training
        module.unet.eval()
        with averaged(trainer, module), module.adapted.merged(module.scale), trainer.precision_plugin.forward_context():
            images = sample(module.pipeline(), prompts, seeds, options, module.image_size, progress=False)
        module.unet.train(was_training)
        folder.mkdir(parents=True, exist_ok=True)
        grid = make_grid(images, nrow=self.columns, padding=2, pad_value=1.0)
        save_image(grid, folder / f"step-{trainer.global_step:07d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", grid, trainer.global_step)

    def _default_prompts(self, trainer: Trainer) -> list[str]:
        texts = trainer.datamodule.table("validate")["text"]  # type: ignore[attr-defined]
        return [str(text) for text in texts.drop_duplicates().head(self.num_images)]
