"""AdamW and its schedules over what is trained, and how many steps a schedule has to plan for."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from diffusers.optimization import get_scheduler
from lightning.pytorch import Trainer
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from memcontrol.errors import MemControlError
from memcontrol.ranges import check_ranges

__all__ = ["OptimizerOptions", "apply_options", "make_optimizer", "make_schedule", "num_steps", "options_of"]

Schedule = Literal["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]


RANGES: Final = {
    "lr": "(0, inf)",
    "lr_1d": "[0, inf)",
    "betas": "[0, 1)",
    "weight_decay": "[0, inf)",
    "eps": "(0, inf)",
    "warmup_steps": "[0, inf)",
}
FACTOR: Final = "(0, inf)"


@dataclass(frozen=True)
class OptimizerOptions:
    """How the trained parameters move.

    Args:
        name: `adamw`, or `adamw8bit` (bitsandbytes, the extra `8bit`).
        lr: Learning rate.
        lr_1d: Learning rate of SVDiff's shifts of norms (1-D weights), or null for the same; the paper's
            authors fix it at 1e-6.
        scale_lr: Whether to multiply learning rates by the global batch size.
        betas: Decay of the first and second moment.
        weight_decay: Decoupled weight decay.
        eps: Term added to the denominator.
        schedule: Name of a schedule of diffusers.
        warmup_steps: Steps over which the rate rises, where the schedule warms up.
        lr_factors: What the learning rates of some slots are multiplied by, by slot names or globs, of which the first
            that matches counts: `{up_blocks.*: 0.5}`. To train nothing of a slot, turn its bit off.

    Raises:
        MemControlError: If a number is out of range, or bitsandbytes is asked for and absent.
    """

    name: Literal["adamw", "adamw8bit"] = "adamw"
    lr: float = 1e-4
    lr_1d: float | None = None
    scale_lr: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    eps: float = 1e-8
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    lr_factors: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check ranges and that the optimizer is there."""
        check_ranges(MemControlError, "optimizer", self, RANGES)
        check_ranges(MemControlError, "optimizer.lr_factors", self.lr_factors, dict.fromkeys(self.lr_factors, FACTOR))
        if self.name == "adamw8bit" and importlib.util.find_spec("bitsandbytes") is None:
            raise MemControlError(
                "Argument `optimizer.name` is `adamw8bit`, which needs bitsandbytes: pip install "
                "'memcontrol[8bit]', or use `adamw`."
            )


def make_optimizer(
    trainable: dict[str, nn.Parameter],
    vectors: set[str],
    options: OptimizerOptions,
    batch_size: int,
    factors: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """Build the optimizer.

    Args:
        trainable: What is trained, by name.
        vectors: Names of those among them that belong to 1-D weights, with a learning rate of their own.
        options: Rates and decay.
        batch_size: Global batch size, for `scale_lr`.
        factors: What the learning rate of each is multiplied by, by name; 1 by default.
    """
    factor, factors = batch_size if options.scale_lr else 1, factors or {}
    groups: list[dict[str, Any]] = []
    for names, lr in (
        ([n for n in trainable if n not in vectors], options.lr),
        (sorted(vectors), options.lr if options.lr_1d is None else options.lr_1d),
    ):
        for own in dict.fromkeys(factors.get(name, 1.0) for name in names):
            chosen = [trainable[name] for name in names if factors.get(name, 1.0) == own]
            groups.append({"params": chosen, "lr": factor * own * lr})
    settings: dict[str, Any] = {
        "lr": factor * options.lr,
        "betas": tuple(options.betas),
        "weight_decay": options.weight_decay,
        "eps": options.eps,
    }
    if options.name == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        optimizer: torch.optim.Optimizer = AdamW8bit(groups, **settings)
        return optimizer
    return torch.optim.AdamW(groups, **settings)


def options_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return what the config says of each group of an optimizer, before a schedule changes it."""
    return [{name: group[name] for name in ("lr", "betas", "weight_decay", "eps")} for group in optimizer.param_groups]


def apply_options(optimizer: torch.optim.Optimizer, schedule: LRScheduler, options: list[dict[str, Any]]) -> None:
    """Go on with these options: a checkpoint has put its own into optimizer and schedule.

    Args:
        optimizer: The optimizer, after its state was loaded.
        schedule: Its schedule, at the step that was loaded.
        options: What `options_of` has returned before.
    """
    assert isinstance(schedule, LambdaLR)
    schedule.base_lrs = [group["lr"] for group in options]
    for group, own, shape in zip(optimizer.param_groups, options, schedule.lr_lambdas, strict=True):
        group.update(own, initial_lr=own["lr"], lr=own["lr"] * shape(schedule.last_epoch))


def make_schedule(optimizer: torch.optim.Optimizer, options: OptimizerOptions, num_steps: int) -> LRScheduler:
    """Build diffusers' schedule over the optimizer's steps."""
    schedule: LRScheduler = get_scheduler(
        options.schedule,
        optimizer,
        num_warmup_steps=options.warmup_steps,
        num_training_steps=max(1, num_steps),
    )
    return schedule


def num_steps(trainer: Trainer, schedule: str) -> int:
    """Return the optimizer's steps of a training.

    Args:
        trainer: The trainer.
        schedule: Name of the schedule of the learning rate.

    Returns:
        The number of steps; 0 where only time or the user ends the training and the schedule needs no end.

    Raises:
        MemControlError: If the schedule needs an end and there is none.
    """
    steps = trainer.estimated_stepping_batches
    if math.isfinite(steps):
        return int(steps)
    if schedule.startswith("constant"):
        return 0
    raise MemControlError(
        f"Argument `model.optimizer.schedule` is {schedule!r}, which must know where training ends, but "
        f"`trainer.max_steps` is {trainer.max_steps} and `trainer.max_epochs` is {trainer.max_epochs}. Give one of "
        "them, or a schedule that needs no end: `constant` or `constant_with_warmup`."
    )
