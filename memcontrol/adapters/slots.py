"""Slot layouts: the parts of a U-Net that one bit of a mask governs.

Order is always that of the forward pass: down blocks, mid block, up blocks.

| layout | one slot is | slots in SD 1.5 | outside the slots |
| --- | --- | --- | --- |
| `paper13` | the transformer blocks of one attention; the third of each up block has no slot | 13 | stays adapted |
| `paper16` | the transformer blocks of one attention | 16 | stays adapted |
| `attention` | the transformer blocks of one attention | 16 | frozen |
| `block` | the transformer blocks of all attentions of one block: a small space for few trials | 7 | frozen |
| `transformer` | one attention whole, with its norm and projections | 16 | frozen |
| `resnet` | one resnet | 22 | frozen |
| `parts` | all attentions, resnets or samplers of one block, or an end: every weight has a slot | 24 | - |
| `all` | one attention, resnet, sampler, or an end of the U-Net: every weight has a slot | 47 | - |

References:
    Dutt et al., "MemControl: Mitigating Memorization in Diffusion Models via Automated Parameter
    Selection", WACV 2025, https://arxiv.org/abs/2405.19458 (`paper13`, `paper16`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from torch import nn

from memcontrol.errors import MaskError

__all__ = ["DEFAULT_LAYOUT", "Layout", "LayoutName", "Slot", "find_layout"]

LayoutName = Literal["paper13", "paper16", "attention", "block", "transformer", "resnet", "parts", "all"]

DEFAULT_LAYOUT: Final[LayoutName] = "paper13"
ENDS = ("conv_in", "time_embedding", "class_embedding", "add_embedding", "encoder_hid_proj")
STAGES = ("down_blocks", "mid_block", "up_blocks")


@dataclass(frozen=True)
class Slot:
    """One part of the U-Net.

    Args:
        name: Name that users type.
        prefixes: Beginnings of the names of the modules that the slot governs.
    """

    name: str
    prefixes: tuple[str, ...]

    def governs(self, module_name: str) -> bool:
        """Whether a module (or parameter) of this name belongs to the slot."""
        return any(module_name == p or module_name.startswith(p + ".") for p in self.prefixes)


@dataclass(frozen=True)
class Layout:
    """An ordered list of slots.

    Args:
        name: Name of the layout.
        slots: The slots, in mask order.
        keeps_rest: Whether what lies outside the slots is always adapted, as in the paper.
    """

    name: LayoutName
    slots: tuple[Slot, ...]
    keeps_rest: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Slot names, in mask order."""
        return tuple(slot.name for slot in self.slots)

    def slot_of(self, module_name: str) -> Slot | None:
        """Return the slot that governs a module, or None."""
        return next((slot for slot in self.slots if slot.governs(module_name)), None)


def find_layout(unet: nn.Module, name: LayoutName) -> Layout:
    """Find the slots of a U-Net.

    Args:
        unet: A diffusers U-Net (any device, `meta` too).
        name: Name of the layout.

    Raises:
        MaskError: If the name is unknown, or the U-Net has no such parts.
    """
    if name not in get_args(LayoutName):
        raise MaskError(f"Argument `slots` must be one of {list(get_args(LayoutName))}, but got {name!r}.")
    slots = tuple(_SLOTS[name](unet))
    expected = {"paper13": 13, "paper16": 16}.get(name, len(slots))
    if not slots or len(slots) != expected:
        raise MaskError(
            f"Argument `slots` is `{name}`, which needs the block structure of Stable Diffusion 1.x and 2.x "
            f"({expected or 'some'} slots), but the U-Net has {len(slots)} of them. Use `parts`, which cuts "
            "up any U-Net, or `attention`, `transformer`, `resnet` or `all`, whichever this one has."
        )
    return Layout(name, slots, keeps_rest=name in ("paper13", "paper16"))


def _children(unet: nn.Module, attribute: str) -> Iterator[str]:
    for stage in STAGES:
        blocks = getattr(unet, stage, None)
        if blocks is None:
            continue
        numbered = blocks.named_children() if isinstance(blocks, nn.ModuleList) else [("", blocks)]
        for number, block in numbered:
            parts = getattr(block, attribute, None)
            path = f"{stage}.{number}" if number else stage
            yield from (f"{path}.{attribute}.{i}" for i in range(len(parts or ())))


def _blocks(unet: nn.Module) -> list[Slot]:
    return [Slot(name, (f"{name}.transformer_blocks",)) for name in _children(unet, "attentions")]


def _whole_blocks(unet: nn.Module) -> list[Slot]:
    grouped: dict[str, list[str]] = {}
    for slot in _blocks(unet):
        grouped.setdefault(slot.name.split(".attentions")[0], []).extend(slot.prefixes)
    return [Slot(name, tuple(prefixes)) for name, prefixes in grouped.items()]


def _paper13(unet: nn.Module) -> list[Slot]:
    return [s for s in _blocks(unet) if not (s.name.startswith("up_blocks") and s.name.endswith(".2"))]


def _transformers(unet: nn.Module) -> list[Slot]:
    return [Slot(name, (name,)) for name in _children(unet, "attentions")]


def _resnets(unet: nn.Module) -> list[Slot]:
    return [Slot(name, (name,)) for name in _children(unet, "resnets")]


def _everything(unet: nn.Module) -> list[Slot]:
    start = [Slot(name, (name,)) for name in ENDS if getattr(unet, name, None) is not None]
    parts = [
        Slot(name, (name,))
        for attribute in ("resnets", "attentions", "downsamplers", "upsamplers")
        for name in _children(unet, attribute)
    ]
    order = {name: i for i, (name, _) in enumerate(unet.named_modules())}
    stage = {name: i for i, name in enumerate(STAGES)}
    parts.sort(key=lambda slot: (stage[slot.name.split(".")[0]], order[slot.name]))
    return [*start, *parts, Slot("conv_out", ("conv_norm_out", "conv_out"))]


def _parts(unet: nn.Module) -> list[Slot]:
    """Group the slots of `all` by block and kind."""
    grouped: dict[str, list[str]] = {}
    for slot in _everything(unet):
        block, dot, _ = slot.name.rpartition(".")
        grouped.setdefault(block if dot else "start" if slot.name in ENDS else "end", []).extend(slot.prefixes)
    return [Slot(name, tuple(prefixes)) for name, prefixes in grouped.items()]


_SLOTS = {
    "paper13": _paper13,
    "paper16": _blocks,
    "attention": _blocks,
    "block": _whole_blocks,
    "transformer": _transformers,
    "resnet": _resnets,
    "parts": _parts,
    "all": _everything,
}
