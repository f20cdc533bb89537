"""What a method can adapt in a U-Net, and how its config is told which of it to adapt.

A *unit* is the name of a module (SVDiff, LoRA, ...) or of a parameter (selective tuning). A method lists its
units, says which stay adapted whatever the mask in the paper's layouts, and writes chosen units into its
config. `plan.py` sorts units into slots. Each of our methods stands in the folder of its adapter and is entered by
`registry.register`; whatever else PEFT can inject goes by `PeftMethod`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Generic, TypeVar

from peft.config import PeftConfig
from torch import nn

from memcontrol.adapters.configs import PATTERNS, named_by
from memcontrol.adapters.kinds import adaptable_kinds, kind_of, matches_targets

__all__ = ["METHODS", "NORMS", "Method", "PeftMethod", "exactly", "leaves", "method_of", "owner_of", "parameters_of"]

C = TypeVar("C", bound=PeftConfig)

NORMS = (nn.LayerNorm, nn.GroupNorm)
METHODS: dict[type[PeftConfig], type[Method[Any]]] = {}
"""The method of each config of ours; filled by `registry.register`."""


def leaves(unet: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that hold parameters of their own, by name."""
    return {
        name: module
        for name, module in unet.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    }


def owner_of(unit: str) -> str:
    """Return the module a unit lies in."""
    return unit.rsplit(".", 1)[0] if unit.endswith((".weight", ".bias")) else unit


def exactly(names: Iterable[str]) -> list[str]:
    """Return full module names as targets; PEFT matches a listed name whole or as a path's end."""
    return sorted(names)


def parameters_of(modules: dict[str, nn.Module], is_chosen: Callable[[str, nn.Module, str], bool]) -> list[str]:
    """Return the full names of those weights and biases of modules that are chosen by module name, module and key."""
    return [
        f"{name}.{key}"
        for name, module in modules.items()
        for key, _ in module.named_parameters(recurse=False)
        if key in ("weight", "bias") and is_chosen(name, module, key)
    ]


class Method(ABC, Generic[C]):
    """One way of adapting modules.

    Args:
        config: The method's PEFT config, without targets (or with targets as a restriction).
    """

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def units(self, unet: nn.Module) -> list[str]:
        """Return the names of all it could adapt, in the U-Net's order."""

    def always_on(self, unit: str) -> bool:
        """Whether a unit inside a slot stays on in the paper's layouts when its bit is off."""
        return False

    def left_out(self, unit: str) -> bool:
        """Whether a unit outside all slots stays frozen even in the paper's layouts."""
        return False

    def rest(self, unet: nn.Module) -> list[str]:
        """Return further units that only the paper's layouts adapt."""
        return []

    copies_prefix: str | None = None
    """Prefix of trained copies of a base parameter (`difffit_`): its unit is the parameter, not its module."""

    def unit_of(self, parameter: str) -> str:
        """Return the unit that a trained parameter adapts.

        Args:
            parameter: Name in the adapted U-Net, e.g. `conv_in.svdiff_shift.default`.
        """
        parts = parameter.split(".")
        at = parts.index("default")
        module, attribute = ".".join(parts[: at - 1]), parts[at - 1]
        if self.copies_prefix is not None and attribute in (f"{self.copies_prefix}weight", f"{self.copies_prefix}bias"):
            return f"{module}.{attribute.removeprefix(self.copies_prefix)}"
        return module

    def switches_off(self, unit: str) -> bool:
        """Whether the config itself leaves out a unit whose bit is on: a rank of 0."""
        return False

    def is_vector(self, unet: nn.Module, parameter: str) -> bool:
        """Whether a trained parameter belongs to a 1-D weight, which `optimizer.lr_1d` is the learning rate of."""
        return False

    @abstractmethod
    def targeting(self, units: list[str]) -> C:
        """Return the config with these units as targets."""


class PeftMethod(Method[PeftConfig]):
    """Any injectable method of PEFT, on the kinds of layers that it handles."""

    def units(self, unet: nn.Module) -> list[str]:
        """Return modules of a kind that the method was seen to handle, among its own targets if given."""
        kinds = adaptable_kinds(self.config)
        return [
            name
            for name, module in leaves(unet).items()
            if kind_of(module) in kinds and matches_targets(self.config, name, module)
        ]

    def switches_off(self, unit: str) -> bool:
        """Whether the rank of a module is 0 by `rank_pattern`; PEFT itself knows no such rank."""
        pattern = getattr(self.config, "rank_pattern", None) or {}
        return named_by(pattern, [unit]).get(re.escape(unit)) == 0

    def targeting(self, units: list[str]) -> PeftConfig:
        """Target the modules, with the ranks that `rank_pattern` gives them."""
        patterns = {
            option: named_by(pattern, units)
            for option in PATTERNS
            if (pattern := getattr(self.config, option, None)) is not None
        }
        return replace(self.config, target_modules=exactly(units), **patterns)


def method_of(config: PeftConfig) -> Method[Any]:
    """Return the method that a PEFT config stands for."""
    return METHODS.get(type(config), PeftMethod)(config)
