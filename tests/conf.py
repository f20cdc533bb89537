"""A short run for tests: few phantoms, few steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def short_run(folder: Path, *extra: str) -> list[str]:
    """Return the arguments of a short `fit` that writes into a folder."""
    return [
        "fit",
        "--config",
        "demo.yaml",
        "--data.num_subjects=24",
        "--data.split_fractions=[0.5,0.25,0.25]",
        "--data.batch_size=8",
        "--data.memorization.num_images=2",
        f"--data.cache.folder={folder / 'cache'}",
        "--trainer.callbacks.every_n_train_steps=2",
        "--trainer.max_steps=6",
        "--trainer.val_check_interval=3",
        "--trainer.log_every_n_steps=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        f"--trainer.logger.save_dir={folder}",
        "--model.sampling.steps=2",
        "--model.eval_draws=1",
        *extra,
    ]


def wait_until(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(f"{happened} did not happen within {seconds} s")
        time.sleep(0.2)


def wait_for(folder: Path, text: bytes, seconds: float = 60.0) -> None:
    """Wait until some file of Weights & Biases holds a text: its service writes after a run has ended."""
    wait_until(lambda: any(text in path.read_bytes() for path in folder.rglob("*.wandb")), seconds)
    time.sleep(1)
