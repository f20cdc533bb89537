"""Writes a diffusers folder as one file in the layout of Stability's trainers, as model sites give it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from memcontrol.diffusion.components import Components

__all__ = ["write_single_file"]

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}  # fmt: skip
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
CLIP_LAYER = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def write_single_file(parts: Components, file: Path) -> Path:
    """Write a base as one file; returns its path."""
    is_xl = parts.text_encoder_2 is not None
    first = "conditioner.embedders.0." if is_xl else "cond_stage_model."
    weights = {f"model.diffusion_model.{k}": v for k, v in _unet(parts.unet).items()}
    weights |= {f"first_stage_model.{k}": v for k, v in _vae(parts.vae).items()}
    if is_xl:
        weights |= {f"{first}transformer.text_model.{k}": v for k, v in _clip(parts.text_encoder).items()}
        weights |= {f"conditioner.embedders.1.model.{k}": v for k, v in _open_clip(parts.text_encoder_2).items()}
    elif parts.scheduler.config["prediction_type"] == "v_prediction":
        weights |= {f"{first}model.{k}": v for k, v in _open_clip(parts.text_encoder).items()}
    else:
        weights |= {f"{first}transformer.text_model.{k}": v for k, v in _clip(parts.text_encoder).items()}
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, file)
    return file


def _named(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        if name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    return name


def _unet(unet: Any) -> dict[str, torch.Tensor]:
    each = unet.config["layers_per_block"] + 1
    found = {}
    for name, weight in unet.state_dict().items():
        place = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", name)
        if place is None:
            new = _named(name, UNET)
            if new.startswith(("middle_block.0.", "middle_block.2.")):
                new = f"{new[:14]}.{_named(new[15:], RESNET)}"
        else:
            way, block, kind, number, rest = place.groups()
            at, has_attention = int(block) * each, f"{way}_blocks.{block}.attentions.0.norm.weight" in unet.state_dict()
            if kind == "downsamplers":
                new = f"input_blocks.{at + each}.0.op.{rest.removeprefix('conv.')}"
            elif kind == "upsamplers":
                new = f"output_blocks.{at + each - 1}.{1 + has_attention}.{rest}"
            else:
                first = at + int(number) + (way == "down")
                side = "input" if way == "down" else "output"
                inner = _named(rest, RESNET) if kind == "resnets" else rest
                new = f"{side}_blocks.{first}.{int(kind == 'attentions')}.{inner}"
        found[new] = weight
    return found


def _vae(vae: Any) -> dict[str, torch.Tensor]:
    found = {}
    for name, weight in vae.state_dict().items():
        new = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        new = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", new)
        new = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{3 - int(m[1])}.block", new)
        new = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", new)
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        head, is_attention, rest = new.partition("mid_block.attentions.0.")
        if is_attention:
            inner = _named(rest, VAE_ATTENTION)
            new = f"{head}mid.attn_1.{inner}"
            weight = weight[:, :, None, None] if weight.ndim == 2 else weight  # they were convolutions
        found[new] = weight
    return found


def _clip(encoder: Any) -> dict[str, torch.Tensor]:
    return {name.removeprefix("text_model."): weight for name, weight in encoder.state_dict().items()}


def _open_clip(encoder: Any) -> dict[str, torch.Tensor]:
    weights = _clip(encoder)
    found = {
        "token_embedding.weight": weights["embeddings.token_embedding.weight"],
        "positional_embedding": weights["embeddings.position_embedding.weight"],
        "ln_final.weight": weights["final_layer_norm.weight"],
        "ln_final.bias": weights["final_layer_norm.bias"],
    }
    if "text_projection.weight" in weights:
        found["text_projection"] = weights["text_projection.weight"].T
    for name, weight in weights.items():
        layer = re.match(r"encoder\.layers\.(\d+)\.(.+)", name)
        if layer and ".self_attn.q_proj." in name:
            kind = name.rpartition(".")[2]
            three = [weights[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            found[f"transformer.resblocks.{layer[1]}.attn.in_proj_{kind}"] = torch.cat(three)
        elif layer and not re.search(r"\.[kv]_proj\.", name):
            found[f"transformer.resblocks.{layer[1]}.{_named(layer[2], CLIP_LAYER)}"] = weight
    return found
