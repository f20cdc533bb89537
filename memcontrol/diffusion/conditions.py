"""What a U-Net is told besides latents, time and text: Stable Diffusion XL's pooled embedding and sizes.

Everything of ours calls a U-Net as `unet(latents, t, states)`. That of Stable Diffusion XL wants more: a pooled
embedding, which is the last row of our states (see `TextCodec`), and sizes, which follow from the latents. A hook hands
them over, and steps aside where somebody else (a pipeline of diffusers) does. A transformer would get a hook here too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["split_packed", "take_packed"]


def take_packed(unet: nn.Module, factor: int) -> None:
    """Let a U-Net take states with a pooled embedding in their last row.

    Args:
        unet: The U-Net of a Stable Diffusion XL.
        factor: Pixels per latent, along one side.
    """
    unet.register_forward_pre_hook(partial(_unpacked, factor=factor), with_kwargs=True)


def split_packed(unet: Any, states: Tensor) -> tuple[Tensor, Tensor]:
    """Return states with shape `(B, L, D)` and pooled embeddings with shape `(B, E)` of states `(B, L + 1, D)`."""
    config = unet.config
    width = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    return states[:, :-1], states[:, -1, :width]


def _unpacked(
    unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], factor: int
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if kwargs.get("added_cond_kwargs") is not None:
        return None
    named = dict(zip(("sample", "timestep", "encoder_hidden_states"), args, strict=False)) | kwargs
    states, pooled = split_packed(unet, named["encoder_hidden_states"])
    height, width = (factor * side for side in named["sample"].shape[-2:])
    sizes = torch.tensor([[height, width, 0, 0, height, width]], device=pooled.device, dtype=pooled.dtype)
    further = {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), -1)}
    return (), {**named, "encoder_hidden_states": states, "added_cond_kwargs": further}
