"""Numbers in a config that make no sense, found before anything is made of it; ours are checked where they are used."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, Final

import torch
from jsonargparse import Namespace

from memcontrol.errors import ConfigError
from memcontrol.ranges import check_ranges

__all__ = ["check_numbers", "leaves"]

RANGES: Final = {
    "max_steps": "[-1, inf)",
    "max_epochs": "[-1, inf)",
    "min_steps": "[0, inf)",
    "min_epochs": "[0, inf)",
    "num_nodes": "[1, 65536]",
    "val_check_interval": "(0, inf)",
    "check_val_every_n_epoch": "[1, inf)",
    "num_sanity_val_steps": "[-1, inf)",
    "log_every_n_steps": "[0, inf)",
    "accumulate_grad_batches": "[1, inf)",
    "gradient_clip_val": "[0, inf)",
    "limit_train_batches": "[0, inf)",
    "limit_val_batches": "[0, inf)",
    "limit_test_batches": "[0, inf)",
    "limit_predict_batches": "[0, inf)",
    "overfit_batches": "[0, inf)",
    "reload_dataloaders_every_n_epochs": "[0, inf)",
}
"""Ranges of Lightning's own options, which it does not check, or too late."""
SHARES: Final = ("limit_", "overfit_", "val_check_")
"""Beginnings of options that are a share of the batches where they are no whole number."""


def check_numbers(config: Namespace, trusts: bool = False) -> None:
    """Refuse numbers that are none, and options of the trainer and seeds that are out of range.

    Args:
        config: The config of a command.
        trusts: Whether classes of the user's own may be in it, which may take what they like.

    Raises:
        ConfigError: With the name of the option, what it is, and what is allowed.
    """
    for name, value in () if trusts else leaves(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"Argument `{name}` is {value}, which is no number. Give a finite one.")
    seed = {"seed_everything": _number(config.get("seed_everything"))}
    check_ranges(ConfigError, "", seed, {"seed_everything": "[0, 4294967295]"})
    trainer = config.get("trainer") or Namespace()
    options = {name: _number(trainer.get(name)) for name in RANGES}
    check_ranges(ConfigError, "trainer", options, RANGES)
    shares = {name: "[0, 1]" for name in RANGES if name.startswith(SHARES) and isinstance(trainer.get(name), float)}
    check_ranges(ConfigError, "trainer", options, shares)
    most = max(16, os.cpu_count() or 1, torch.cuda.device_count())
    devices = trainer.get("devices")
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if isinstance(devices, int) and devices != -1:
        check_ranges(ConfigError, "trainer", {"devices": devices}, {"devices": f"[1, {most}]"})
    search = config.get("search")
    if search is not None:
        check_ranges(ConfigError, "search", search, {"devices_per_trial": f"[1, {most}]"})


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a config that hold no others, by name."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item, name)
    else:
        yield name, value


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
