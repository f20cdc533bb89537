"""A LoRA file that `load_lora_weights` of diffusers takes."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from memcontrol.errors import CheckpointError
from memcontrol.exports.changes import Change, changes_of, factored
from memcontrol.pipeline import Tuned

__all__ = ["write_lora"]

log = logging.getLogger("memcontrol")


def write_lora(tuned: Tuned, folder: Path, dtype: torch.dtype, scale: float) -> None:
    """Write `pytorch_lora_weights.safetensors`.

    A LoRA is written as it is, with its scale in the factors. Other changes of Linears and convolutions become a LoRA
    of as many channels as they have directions; its bias holds changes of biases.

    Args:
        tuned: A base with an adapter; merged afterwards.
        folder: Where to write.
        dtype: Type of the weights.
        scale: How far to go from the base (0) to what was trained (1), in [0, 1].

    Raises:
        CheckpointError: If nothing was trained, or norms were, which no LoRA holds.
    """
    changes = changes_of(tuned, scale)
    if not changes:
        raise CheckpointError(
            "Nothing differs from the base, so there is no LoRA to write. Name a run that was trained."
        )
    norms = [change.module for change in changes if change.is_norm]
    if norms:
        raise CheckpointError(
            f"Argument `format` is 'diffusers', but {len(norms)} norms were trained, first of all {norms[0]!r}, and a "
            "LoRA of diffusers holds none. Use `pipeline` (whole weights, for diffusers) or `kohya` (differences, for "
            "A1111 and ComfyUI)."
        )
    weights: dict[str, Tensor] = {}
    has_bias = any(change.bias is not None for change in changes)
    widest = 0
    for change in changes:
        down, up = _factors(change, tuned.parts.unet.get_submodule(change.module).weight)
        widest = max(widest, len(down))
        weights[f"{change.module}.lora_A.weight"] = down.to(dtype).contiguous()
        weights[f"{change.module}.lora_B.weight"] = up.to(dtype).contiguous()
        if has_bias:  # diffusers gives all modules one, or none
            bias = change.bias if change.bias is not None else torch.zeros(up.shape[0])
            weights[f"{change.module}.lora_B.bias"] = bias.to(dtype).contiguous()
    type(tuned.parts.pipeline()).save_lora_weights(str(folder), unet_lora_layers=weights)
    log.info("Wrote a LoRA of %d modules and up to %d channels to %s", len(changes), widest, folder)


def _factors(change: Change, weight: Tensor) -> tuple[Tensor, Tensor]:
    if change.factors is not None:
        return change.factors
    if change.weight is not None:
        return factored(change.weight)
    return torch.zeros(1, *weight.shape[1:]), torch.zeros(len(weight), 1, *[1] * (weight.ndim - 2))
