"""Which device `auto` stands for, and whether a named one is there."""

from __future__ import annotations

import torch

from memcontrol.errors import ConfigError

__all__ = ["device_named"]


def device_named(name: str) -> str:
    """Return the device of a name: `auto` is a GPU where there is one, and anything else stands for itself.

    Raises:
        ConfigError: If there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"Argument `device` is {name!r}, which cannot be computed on here: {first} Give `auto`, `cpu`, or one of "
            f"the {torch.cuda.device_count()} GPUs (`cuda`, `cuda:1`, ...)."
        ) from error
    return name
