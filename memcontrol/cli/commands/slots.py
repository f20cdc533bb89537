"""`slots`: what each bit of the mask would train."""

from __future__ import annotations

from collections import Counter

from torch import nn

from memcontrol.adapters import AdaptedUNet
from memcontrol.adapters.inject import adapt
from memcontrol.adapters.plan import make_plan
from memcontrol.diffusion.bases import build_skeleton

__all__ = ["count_by_slot", "slots_table"]


def count_by_slot(adapted: AdaptedUNet, base: nn.Module) -> Counter[str | None]:
    """Count trained parameters by the slot whose bit governs them; None counts what is always on.

    Args:
        adapted: An adapted U-Net (any device, `meta` too).
        base: The same U-Net without an adapter.
    """
    counts: Counter[str | None] = Counter()
    if adapted.peft_model is None or adapted.config is None:
        return counts
    plan = make_plan(base, adapted.config, adapted.layout)
    slot_of = {unit: name for name, units in plan.in_slot.items() for unit in units}
    for name, parameter in adapted.trainable().items():
        counts[slot_of.get(plan.method.unit_of(name))] += parameter.numel()
    return counts


def slots_table(adapted: AdaptedUNet, model_base: str) -> str:
    """Write the slots with bit, trained parameters if on, and totals.

    Args:
        adapted: The adapted skeleton under the mask.
        model_base: Name of the base.
    """
    base = build_skeleton(model_base)
    total = sum(p.numel() for p in base.parameters())
    mask, layout = adapted.mask, adapted.layout
    everything = build_skeleton(model_base)
    all_on = adapt(everything, adapted.config, layout, mask.with_bits((1,) * len(mask.bits)), allow_empty=True)
    if_on = count_by_slot(all_on, base)
    now = sum(p.numel() for p in adapted.trainable().values())
    most = sum(p.numel() for p in all_on.trainable().values())
    lines = [f"{'no.':>4}  bit  {'parameters':>12}  slot"]
    for number, (name, bit) in enumerate(zip(mask.names, mask.bits, strict=True)):
        lines.append(f"{number:>4}  {bit:>3}  {if_on[name]:>12,}  {name}")
    lines.append(f"{'':>4}  {'':>3}  {if_on[None]:>12,}  (always on, whatever the mask)")
    lines += _unadaptable(adapted, base)
    off = if_on[None]
    for label, count in (("this mask", now), ("all bits on", most), ("all bits off", off)):
        lines.append(f"{label}: {count:,} of {total:,} parameters ({100 * count / total:.4f} %)")
    return "\n".join([f"layout `{layout.name}`, mask {mask.bit_string} ({mask.digest})", *lines])


def _unadaptable(adapted: AdaptedUNet, base: nn.Module) -> list[str]:
    if adapted.config is None:
        return ["no adapter: nothing is trained"]
    plan = make_plan(base, adapted.config, adapted.layout)
    kinds = Counter(module.rsplit("(", 1)[1].rstrip(")") for modules in plan.unadaptable.values() for module in modules)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return [f"inside slots, not adapted by this method: {listed}"] if listed else []
