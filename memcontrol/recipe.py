"""What a training follows, in plain values, so that a resumed one can tell what has changed."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any, Final

from lightning.pytorch import Trainer

from memcontrol.errors import CheckpointError
from memcontrol.files.digests import changes_of

__all__ = ["RECIPE_KEY", "check_recipe", "recipe_of"]

log = logging.getLogger("memcontrol")

RECIPE_KEY: Final = "memcontrol_recipe"
"""Where a checkpoint holds it."""
FREE: Final = ("snr_gamma", "noise_offset", "input_perturbation", "caption_dropout", "ambient")
"""Numbers of the module that may change from one step to the next."""


def recipe_of(module: Any, trainer: Trainer) -> dict[str, dict[str, Any]]:
    """Return what the training follows.

    Args:
        module: The MemControlModule.
        trainer: Its trainer.

    Returns:
        `fixed`: what says where in the data a step is and which random numbers it takes; `free`: what may change from
        one step to the next.
    """
    data = getattr(trainer, "datamodule", None)
    world = trainer.world_size
    batch = getattr(data, "batch_size", None)
    return {
        "fixed": {
            "model.seed": module.seed,
            "data.seed": getattr(data, "seed", None),
            "data.batch_size x devices": batch * world if batch is not None else None,
            "data.memorization": changes_of(getattr(data, "memorization", None)),
            "model.optimizer.lr_factors": module.optimizer_options.lr_factors,
            "averaged weights (EMACallback)": module.is_averaged,
            "model.privacy": module.privacy.settings() if module.privacy is not None else None,
        },
        "free": {
            **{
                f"model.optimizer.{name}": changes_of(value)
                for name, value in asdict(module.optimizer_options).items()
                if name != "lr_factors"
            },
            **{f"model.{name}": getattr(module, name) for name in FREE},
            "model.mitigations": changes_of(module.mitigations),
            "model.timesteps": changes_of(module.timesteps),
            "data.transform": changes_of(getattr(data, "transform", None)),
            "data.captions": getattr(data, "captions", None),
            "trainer.precision": trainer.precision,
            "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
            "trainer.gradient_clip_val": trainer.gradient_clip_val,
        },
    }


def check_recipe(theirs: dict[str, dict[str, Any]], ours: dict[str, dict[str, Any]]) -> None:
    """Refuse what a resumed training cannot change, and say what it does change.

    Args:
        theirs: Recipe of the checkpoint.
        ours: Recipe of the config.

    Raises:
        CheckpointError: If something differs that says where in the data the training is.
    """
    fixed, free = (
        {name: (theirs[part][name], ours[part][name]) for name in theirs[part] if name in ours[part]}
        for part in ("fixed", "free")
    )
    for name, (before, now) in fixed.items():
        if before != now:
            raise CheckpointError(
                f"The checkpoint was trained with `{name}` {before}, but the config says {now}. A run that goes on "
                "cannot change it: its place in the data would be another. Give the same again (config.yaml in the run "
                "folder), or start a new run without `--ckpt_path`."
            )
    for name, (before, now) in free.items():
        if before != now and ours["fixed"].get("model.privacy") is not None:
            raise CheckpointError(
                f"The checkpoint was trained with `{name}` {before}, but the config says {now}. A private run that "
                "goes on cannot change it: steps that are done again would give away something new. Give the same "
                "again, or start a new run."
            )
        if before != now:
            log.warning("The run goes on with `%s` %s instead of %s", name, now, before)
