"""A file in the format of kohya's scripts and LyCORIS, which A1111, Forge and ComfyUI read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from memcontrol.diffusion.components import Components
from memcontrol.errors import CheckpointError
from memcontrol.exports.changes import Change, changes_of
from memcontrol.pipeline import Tuned

__all__ = ["write_kohya"]

log = logging.getLogger("memcontrol")

BASES: Final = {
    768: ("sd_v1", "stable-diffusion-v1"),
    1024: ("sd_v2", "stable-diffusion-v2-512"),
    2048: ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
}
"""What readers call a base, by the width of its text states."""


def write_kohya(tuned: Tuned, folder: Path, dtype: torch.dtype, scale: float) -> None:
    """Write `<folder>.safetensors` into a folder.

    A LoRA is written as one; what other methods change as differences (LyCORIS' `full` and `norm` modules), whole
    weights of those modules.

    Args:
        tuned: A base with an adapter; merged afterwards.
        folder: Where to write; the file, by whose name programs know it, is called like it.
        dtype: Type of the weights.
        scale: How far to go from the base (0) to what was trained (1), in [0, 1].

    Raises:
        CheckpointError: If nothing was trained.
    """
    unet = tuned.parts.unet
    changes = changes_of(tuned, scale)
    if not changes:
        raise CheckpointError(
            "Nothing differs from the base, so there is nothing to write. Name a run that was trained."
        )
    weights: dict[str, Tensor] = {}
    for change in changes:
        name = "lora_unet_" + change.module.replace(".", "_")
        module = unet.get_submodule(change.module)
        weights |= {f"{name}.{key}": value for key, value in _entries(change, module, dtype).items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{folder.absolute().name}.safetensors"
    save_file(weights, path, metadata=_metadata(changes, _base(tuned.parts)))
    log.info("Wrote %d modules to %s (%.0f MiB)", len(changes), path, path.stat().st_size / 2**20)


def _entries(change: Change, module: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return what readers expect of one module."""
    if change.is_norm:
        vectors = {"w_norm": change.weight, "b_norm": change.bias}
        present = dict(zip(vectors, (module.weight, module.bias), strict=True))
        return {key: _or_zeros(vectors[key], present[key], dtype) for key in vectors if present[key] is not None}
    entries = {}
    if change.factors is not None and change.bias is None:
        down, up = change.factors
        # a scale of alpha / rank is applied; ours is in the factors
        entries = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(float(len(down)))}
        return {key: value.to(dtype).contiguous() for key, value in entries.items()}
    weight = change.weight
    if change.factors is not None:
        down, up = change.factors
        weight = (up.flatten(1) @ down.flatten(1)).view_as(module.weight)
    # readers find the module by its `diff`, zero or not
    entries["diff"] = _or_zeros(weight, module.weight, dtype)
    if change.bias is not None:
        entries["diff_b"] = change.bias.to(dtype).contiguous()
    return entries


def _or_zeros(value: Tensor | None, like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros_like(like, dtype=dtype).detach() if value is None else value.to(dtype).contiguous()


def _base(parts: Components) -> tuple[str, str]:
    """Return version and architecture of a base as readers call them; empty where they know none like it."""
    is_known = "CLIP" in type(parts.text_encoder).__name__ and parts.scheduler.config["prediction_type"] == "epsilon"
    return BASES.get(parts.unet.config["cross_attention_dim"], ("", "")) if is_known else ("", "")


def _metadata(changes: list[Change], base: tuple[str, str]) -> dict[str, str]:
    is_lora = all(change.factors is not None and change.bias is None for change in changes)
    version, architecture = base
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.implementation": "diffusers",
        "ss_network_module": "networks.lora" if is_lora else "lycoris.kohya",
        **({"ss_base_model_version": version, "modelspec.architecture": f"{architecture}/lora"} if version else {}),
    }
