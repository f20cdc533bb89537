"""Sort what a method can adapt into the slots of a layout, and choose by a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peft.config import PeftConfig
from torch import nn

from memcontrol.adapters.kinds import kind_of, matches_targets
from memcontrol.adapters.method import Method, leaves, method_of, owner_of
from memcontrol.adapters.slots import Layout
from memcontrol.errors import AdapterError
from memcontrol.masks import Mask

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True)
class Plan:
    """Where a method's units lie.

    Args:
        method: The method.
        layout: The slots.
        in_slot: Units that each slot's bit governs, by slot name.
        always: Units that are adapted whatever the mask.
        unadaptable: Modules inside each slot that the method cannot adapt, with their kind.
    """

    method: Method[Any]
    layout: Layout
    in_slot: dict[str, tuple[str, ...]]
    always: tuple[str, ...]
    unadaptable: dict[str, tuple[str, ...]]

    def units(self, mask: Mask) -> list[str]:
        """Return the units that are adapted under a mask."""
        chosen = [*self.always, *(unit for name in mask.on for unit in self.in_slot[name])]
        return [unit for unit in chosen if not self.method.switches_off(unit)]

    def config(self, mask: Mask) -> PeftConfig | None:
        """Return the PEFT config for a mask, or None where it adapts nothing."""
        units = self.units(mask)
        return self.method.targeting(units) if units else None


def make_plan(unet: nn.Module, config: PeftConfig, layout: Layout) -> Plan:
    """Find which units of a method belong to which slot.

    Args:
        unet: The base U-Net, not adapted.
        config: The method's PEFT config.
        layout: The slots.

    Raises:
        AdapterError: If there is a slot of which the method can adapt nothing.
    """
    method = method_of(config)
    in_slot: dict[str, list[str]] = {name: [] for name in layout.names}
    always: list[str] = []
    for unit in _wanted(config, unet, method.units(unet)):
        slot = layout.slot_of(owner_of(unit))
        if slot is not None and not (layout.keeps_rest and method.always_on(unit)):
            in_slot[slot.name].append(unit)
        elif layout.keeps_rest:
            always.append(unit)
    if layout.keeps_rest:
        always.extend(_wanted(config, unet, method.rest(unet)))
    unadaptable = _unadaptable(unet, layout, [*always, *(u for us in in_slot.values() for u in us)])
    _refuse_empty_slots(config, layout, in_slot, unadaptable)
    return Plan(
        method=method,
        layout=layout,
        in_slot={name: tuple(units) for name, units in in_slot.items()},
        always=tuple(always),
        unadaptable=unadaptable,
    )


def _wanted(config: PeftConfig, unet: nn.Module, units: list[str]) -> list[str]:
    """Return the units in modules that the config's own `target_modules` and `exclude_modules` leave, where given."""
    if not getattr(config, "target_modules", None) and not getattr(config, "exclude_modules", None):
        return units
    owners = {owner: matches_targets(config, owner, unet.get_submodule(owner)) for owner in map(owner_of, units)}
    return [unit for unit in units if owners[owner_of(unit)]]


def _unadaptable(unet: nn.Module, layout: Layout, units: list[str]) -> dict[str, tuple[str, ...]]:
    adapted = set(map(owner_of, units))
    found: dict[str, list[str]] = {name: [] for name in layout.names}
    for name, module in leaves(unet).items():
        slot = layout.slot_of(name)
        if slot is not None and name not in adapted:
            found[slot.name].append(f"{name} ({kind_of(module)})")
    return {name: tuple(modules) for name, modules in found.items()}


def _refuse_empty_slots(
    config: PeftConfig,
    layout: Layout,
    in_slot: dict[str, list[str]],
    unadaptable: dict[str, tuple[str, ...]],
) -> None:
    empty = [name for name, units in in_slot.items() if not units]
    if not empty:
        return
    modules = "\n".join(f"  {module}" for module in unadaptable[empty[0]][:8])
    raise AdapterError(
        f"Argument `adapter` is {type(config).__name__} ({_describe(config)}), which can adapt nothing in "
        f"{len(empty)} of the {len(layout.slots)} slots of the layout `{layout.name}`, first of all in "
        f"`{empty[0]}`, whose modules are\n{modules}\nUse another layout (`model.slots`) or adapter, or "
        "widen `target_modules`."
    )


def _describe(config: PeftConfig) -> str:
    tune = getattr(config, "tune", None)
    targets = getattr(config, "target_modules", None)
    return f"tune: {tune}" if tune else f"target_modules: {targets or 'any'}"
