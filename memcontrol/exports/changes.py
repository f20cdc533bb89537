"""What fine-tuning added to the weights of a U-Net, whatever the method was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from memcontrol.adapters.inject import base_weights
from memcontrol.pipeline import Tuned

__all__ = ["Change", "changes_of", "factored"]

ADAPTER: Final = "default"
RELATIVE: Final = 1e-6
"""Singular values of a change that are smaller, relative to the largest, are rounding."""


@dataclass(frozen=True)
class Change:
    """What was added to one module.

    Args:
        module: Name of the module in the plain U-Net.
        is_norm: Whether it is a norm, whose weight is a vector.
        weight: What was added to its weight, of the weight's shape; None if nothing was, or if it has factors.
        bias: What was added to its bias; None if nothing was.
        factors: `(down, up)`, of shapes `(r, in, ...)` and `(out, r, ...)`, whose product was added to its weight;
            None if nothing was, or if it has no few.
    """

    module: str
    is_norm: bool
    weight: Tensor | None = None
    bias: Tensor | None = None
    factors: tuple[Tensor, Tensor] | None = None


@torch.no_grad()
def changes_of(tuned: Tuned, scale: float) -> list[Change]:
    """Merge what was trained into its base, and return what that changed.

    Args:
        tuned: A base with an adapter; merged afterwards.
        scale: How far to go from the base (0) to what was trained (1), in [0, 1].

    Returns:
        The modules of which any value changed, in the U-Net's order.

    Raises:
        CheckpointError: If the method leaves other weights than those of its base, and the scale is below 1.
    """
    tuned.need_layers_only("an export of that")
    unet = tuned.parts.unet
    low_rank = {name: _factors(module, scale) for name, module in unet.named_modules() if isinstance(module, LoraLayer)}
    before = {name: weight.detach().clone() for name, weight in base_weights(unet)}
    tuned.merge(scale)
    found = []
    for name in dict.fromkeys(name.rpartition(".")[0] for name in before):
        module = unet.get_submodule(name)
        added = {
            key: weight.detach() - before[f"{name}.{key}"]
            for key, weight in module.named_parameters(recurse=False)
            if not torch.equal(weight, before[f"{name}.{key}"])
        }
        factors = low_rank.get(name)
        change = Change(
            module=name,
            is_norm=isinstance(module, nn.LayerNorm | nn.GroupNorm),
            weight=added.get("weight") if factors is None else None,
            bias=added.get("bias"),
            factors=factors,
        )
        if added or factors is not None:
            found.append(change)
    return found


def _factors(layer: LoraLayer, scale: float) -> tuple[Tensor, Tensor] | None:
    """Return the factors of a plain LoRA with its scale in the second; None for its variants, as DoRA."""
    if layer.lora_variant or set(layer.lora_A) != {ADAPTER} or getattr(layer.get_base_layer(), "groups", 1) != 1:
        return None
    down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    return down.detach().clone(), scale * layer.scaling[ADAPTER] * up.detach()


def factored(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Factor a change of a Linear's or convolution's weight, with as many channels as it has directions.

    Args:
        weight: A change, of shape `(out, in)` or `(out, in, height, width)`.

    Returns:
        `(down, up)`, as in `Change`; their product is the change, but for rounding.

    Example:
        >>> down, up = factored(torch.ones(8, 4, 3, 3))
        >>> tuple(down.shape), tuple(up.shape)
        ((1, 4, 3, 3), (8, 1, 1, 1))
    """
    u, s, vh = torch.linalg.svd(weight.flatten(1).double(), full_matrices=False)
    rank = max(1, int((s > RELATIVE * s[0]).sum()))
    root = s[:rank].sqrt()
    down = (root[:, None] * vh[:rank]).to(weight.dtype).view(rank, *weight.shape[1:])
    up = (u[:, :rank] * root).to(weight.dtype).view(-1, rank, *[1] * (weight.ndim - 2))
    return down.contiguous(), up.contiguous()
