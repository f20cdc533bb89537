"""Which kinds of layers a PEFT method can adapt, found by trying it on a small one of each.

PEFT does not declare it, and some methods accept a layer that they then get wrong (OFT on 3x3
convolutions), so a kind counts only if the fresh adapter changes nothing.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Final

import torch
from peft import inject_adapter_in_model
from peft.config import PeftConfig
from torch import nn

from memcontrol.seeds import scoped_seed

__all__ = ["KINDS", "adaptable_kinds", "kind_of", "matches_targets"]

KINDS: Final[dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]]] = {
    "Linear": lambda: (nn.Linear(64, 64), (2, 64)),
    "Conv2d 1x1": lambda: (nn.Conv2d(64, 64, 1), (2, 64, 4, 4)),
    "Conv2d": lambda: (nn.Conv2d(64, 64, 3, padding=1), (2, 64, 4, 4)),
    "LayerNorm": lambda: (nn.LayerNorm(64), (2, 64)),
    "GroupNorm": lambda: (nn.GroupNorm(8, 64), (2, 64, 4, 4)),
}
"""Name of each kind of layer in a U-Net, with a small layer and the shape of its input."""

FRESH_TOLERANCE: Final = 1e-3


def kind_of(module: nn.Module) -> str:
    """Return the kind of a layer, or the name of its class."""
    if isinstance(module, nn.Conv2d):
        return "Conv2d 1x1" if module.kernel_size == (1, 1) else "Conv2d"
    return type(module).__name__


def adaptable_kinds(config: PeftConfig) -> set[str]:
    """Try a method on a small layer of each kind.

    Args:
        config: Config of a PEFT method; its targets are ignored.

    Returns:
        Kinds on which the method injects, computes, and leaves the output of a fresh adapter within 1e-3
        of the base's (which is not asked of a config that starts elsewhere on purpose).
    """
    return {kind for kind in KINDS if _handles(config, kind)}


def matches_targets(config: PeftConfig, name: str) -> bool:
    """Whether a module is among the targets that a user gave, if any were given."""
    targets = getattr(config, "target_modules", None)
    excluded = getattr(config, "exclude_modules", None)
    return (not targets or _matches(targets, name)) and not (excluded and _matches(excluded, name))


def _matches(targets: str | list[str] | set[str], name: str) -> bool:
    if isinstance(targets, str):
        return targets == "all-linear" or re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _handles(config: PeftConfig, kind: str) -> bool:
    with scoped_seed(0, kind), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer, shape = KINDS[kind]()
        x = torch.randn(shape)
        expected = layer(x)
        trial = replace(deepcopy(config), target_modules=["probe"], exclude_modules=None)
        try:
            model = inject_adapter_in_model(trial, nn.ModuleDict({"probe": layer}))
            output = model["probe"](x)
        except (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError, IndexError):
            return False
    has_parameters = any(p.requires_grad for p in model.parameters())
    starts_elsewhere = False in (getattr(config, "init_lora_weights", 1), getattr(config, "init_weights", 1))
    error = float((output - expected).detach().abs().max())
    return has_parameters and (starts_elsewhere or error < FRESH_TOLERANCE)
