"""A training step of `fit` against a bare loop of the same U-Net, loss and optimizer.

OMP_NUM_THREADS=1 python benchmarks/loop.py [--base embedded] [--steps 30] [--runs 5] [--device cpu]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from common import clock, interleave, show
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional

from memcontrol import MemControlModule
from memcontrol.adapters import SVDiffConfig
from memcontrol.data.cache import CacheOptions
from memcontrol.data.images import Transform
from memcontrol.data.phantom.datamodule import PhantomDataModule

WARM_UP = 3


class _Clock(Callback):
    """Clocks the steps after the first few."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.started = 0.0
        self.batches: list[Any] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)
        if len(self.batches) == WARM_UP + 1:
            self.started = clock(self.device)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.spent = clock(self.device) - self.started


def main() -> None:
    """Print seconds of the same steps in both loops."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="embedded")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    state: dict[str, Any] = {}

    def fit() -> float:
        data = PhantomDataModule(cache=CacheOptions(folder=str(folder / "cache")), transform=Transform(size=64))
        module = MemControlModule(options.base, SVDiffConfig())
        measured = _Clock(options.device)
        trainer = Trainer(
            accelerator="cpu" if options.device == "cpu" else "gpu",
            devices=1,
            max_steps=WARM_UP + options.steps,
            limit_val_batches=0,
            logger=CSVLogger(folder),
            callbacks=[measured],
            enable_checkpointing=False,
            gradient_clip_val=1.0,
        )
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer.fit(module, data)
        state.update(module=module, batches=measured.batches)
        return measured.spent / options.steps

    def bare() -> float:
        module: MemControlModule = state["module"]
        unet, scheduler = module.unet.to(options.device).train(), module.parts.scheduler
        trainable = list(module.adapted.trainable().values())
        optimizer = torch.optim.AdamW(trainable, lr=1e-3)
        for number, batch in enumerate(state["batches"]):
            if number == WARM_UP:
                started = clock(options.device)
            latents, states = batch["latents"].to(options.device), batch["text_states"].to(options.device)
            t = torch.randint(0, module.num_timesteps, (len(latents),), device=latents.device)
            noise = torch.randn_like(latents[:, 0])
            prediction = unet(scheduler.add_noise(latents[:, 0], noise, t), t, states).sample
            loss = functional.mse_loss(prediction, noise)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainable, 1.0)
            optimizer.step()
        return (clock(options.device) - started) / options.steps

    warnings.filterwarnings("ignore")
    seconds = interleave({"fit": fit, "bare loop": bare}, options.runs)
    show(f"Training step, batch 16, base {options.base}", seconds, {"fit": "bare loop"}, options.device)


if __name__ == "__main__":
    main()
