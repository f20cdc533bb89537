"""What each method can adapt in a U-Net, and how its config is told which of it to adapt.

A *unit* is the name of a module (SVDiff, LoRA, ...) or of a parameter (selective tuning). A method lists its
units, says which stay adapted whatever the mask in the paper's layouts, and writes chosen units into its
config. `plan.py` sorts units into slots.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Generic, TypeVar

from peft.config import PeftConfig
from torch import nn

from memcontrol.adapters.difffit import DiffFitConfig
from memcontrol.adapters.difffit.layer import num_scales
from memcontrol.adapters.kinds import adaptable_kinds, kind_of, matches_targets
from memcontrol.adapters.selective import SelectiveConfig
from memcontrol.adapters.svdiff import SVDiffConfig

__all__ = ["Method", "leaves", "method_of"]

C = TypeVar("C", bound=PeftConfig)

NORMS = (nn.LayerNorm, nn.GroupNorm)
SPECTRAL = (nn.Linear, nn.Conv2d, *NORMS)


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

    @abstractmethod
    def targeting(self, units: list[str]) -> C:
        """Return the config with these units as targets."""


class SVDiffMethod(Method[SVDiffConfig]):
    """Shifts of every weight: Linear, Conv2d, LayerNorm, GroupNorm."""

    def units(self, unet: nn.Module) -> list[str]:
        """Return modules with a weight."""
        return [
            name for name, module in leaves(unet).items() if isinstance(module, SPECTRAL) and module.weight is not None
        ]

    def targeting(self, units: list[str]) -> SVDiffConfig:
        """Target the modules."""
        return replace(self.config, target_modules=exactly(units))


class DiffFitMethod(Method[DiffFitConfig]):
    """Scales inside transformer blocks, and biases and norms everywhere."""

    def units(self, unet: nn.Module) -> list[str]:
        """Return modules whose output is scaled, then parameters that are free."""
        modules = leaves(unet)
        scaled = [n for n, m in modules.items() if isinstance(m, nn.Linear) and num_scales(n)]
        return scaled + _parameters(modules, lambda _, m, key: key == "bias" or isinstance(m, NORMS))

    def always_on(self, unit: str) -> bool:
        """Keep biases and norms free: the paper's bits govern the scales only."""
        return unit != owner_of(unit)

    def targeting(self, units: list[str]) -> DiffFitConfig:
        """Scale the modules and free the parameters."""
        scaled = [unit for unit in units if unit == owner_of(unit)]
        free = [unit for unit in units if unit != owner_of(unit)]
        owners = list(dict.fromkeys(map(owner_of, units)))
        return replace(
            self.config,
            scaled_modules=scaled,
            free_parameters=free,
            target_modules=exactly(owners),
        )


class SelectiveMethod(Method[SelectiveConfig]):
    """Weights and biases themselves."""

    def units(self, unet: nn.Module) -> list[str]:
        """Return the parameters of the selection."""
        return _parameters(leaves(unet), self._is_selected)

    def rest(self, unet: nn.Module) -> list[str]:
        """Add what the paper's attention tuning leaves free: all of the attentions but `attn*`."""
        if self.config.tune != "attention":
            return []
        return _parameters(leaves(unet), lambda name, _, __: ".attentions." in f".{name}" and not _is_attention(name))

    def targeting(self, units: list[str]) -> SelectiveConfig:
        """Free the parameters."""
        owners = list(dict.fromkeys(map(owner_of, units)))
        return replace(self.config, free_parameters=units, target_modules=exactly(owners))

    def _is_selected(self, name: str, module: nn.Module, key: str) -> bool:
        parts = {
            "bias": key == "bias",
            "norm": isinstance(module, NORMS),
            "attention": _is_attention(name),
        }
        tune = self.config.tune
        return tune == "full" or any(chosen for part, chosen in parts.items() if part in tune.split("_"))


class PeftMethod(Method[PeftConfig]):
    """Any injectable method of PEFT, on the kinds of layers that it handles."""

    def units(self, unet: nn.Module) -> list[str]:
        """Return modules of a kind that the method was seen to handle, among its own targets if given."""
        kinds = adaptable_kinds(self.config)
        return [
            name
            for name, module in leaves(unet).items()
            if kind_of(module) in kinds and matches_targets(self.config, name)
        ]

    def targeting(self, units: list[str]) -> PeftConfig:
        """Target the modules."""
        return replace(self.config, target_modules=exactly(units))


def method_of(config: PeftConfig) -> Method[Any]:
    """Return the method that a PEFT config stands for."""
    methods: dict[type[PeftConfig], type[Method[Any]]] = {
        SVDiffConfig: SVDiffMethod,
        DiffFitConfig: DiffFitMethod,
        SelectiveConfig: SelectiveMethod,
    }
    return methods.get(type(config), PeftMethod)(config)


def exactly(names: Iterable[str]) -> list[str]:
    """Return full module names as targets; PEFT matches a listed name whole or as a path's end."""
    return sorted(names)


def _is_attention(name: str) -> bool:
    return ".attn" in name


def _parameters(modules: dict[str, nn.Module], is_chosen: Any) -> list[str]:
    return [
        f"{name}.{key}"
        for name, module in modules.items()
        for key, _ in module.named_parameters(recurse=False)
        if key in ("weight", "bias") and is_chosen(name, module, key)
    ]
