"""Which device `auto` stands for."""

from __future__ import annotations

import torch

__all__ = ["device_named"]


def device_named(name: str) -> str:
    """Return the device of a name: `auto` is a GPU where there is one, and anything else stands for itself."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
