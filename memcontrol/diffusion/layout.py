"""The layout of a base's folder: which parts it has, and what of it cannot be run. Nothing is loaded here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from memcontrol.errors import BaseModelError
from memcontrol.plain import read_mapping
from memcontrol.ranges import check_ranges

__all__ = [
    "CAN_RUN", "PARTS", "SECOND", "check_configs", "check_folder", "check_together", "check_unet", "is_clip",
    "needs_second",
]  # fmt: skip

CAN_RUN: Final = (
    "What can be run is Stable Diffusion 1.x, 2.x and XL and their kind: latents, text encoded by CLIP (one or two) or "
    "by BERT, noise or velocity."
)

PARTS: Final = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
SECOND: Final = {"text_encoder_2": "config.json", "tokenizer_2": "tokenizer_config.json"}
"""What Stable Diffusion XL has besides."""
NEEDS_MORE: Final = {
    "class_embed_type": "class labels",
    "encoder_hid_dim_type": "embeddings of images",
    "num_class_embeds": "class labels",
    "time_cond_proj_dim": "the guidance scale as an input (latent consistency models)",
}
"""Options of a U-Net that cannot run with latents, timestep and text alone, and what it needs besides."""


SIZES: Final = {
    "unet": {
        "block_out_channels": "[1, 8192]",
        "layers_per_block": "[1, 16]",
        "transformer_layers_per_block": "[1, 32]",
        "cross_attention_dim": "[1, 16384]",
        "sample_size": "[1, 1024]",
        "in_channels": "[1, 64]",
        "out_channels": "[1, 64]",
    },
    "vae": {"block_out_channels": "[1, 8192]", "layers_per_block": "[1, 16]", "latent_channels": "[1, 64]"},
    "text_encoder": {
        "num_hidden_layers": "[1, 128]",
        "hidden_size": "[1, 16384]",
        "intermediate_size": "[1, 65536]",
        "vocab_size": "[1, 1000000]",
        "max_position_embeddings": "[1, 8192]",
    },
    "scheduler": {"num_train_timesteps": "[1, 100000]"},
}
"""Sizes that a model of this kind may have."""


def check_folder(folder: Path, base: str, random_init: bool) -> None:
    """Refuse the folder of a base that lacks a part, or cannot be run.

    Args:
        folder: The folder.
        base: What the config calls it.
        random_init: Whether its weights are not needed.

    Raises:
        BaseModelError: If so.
    """
    check_configs(folder, base, needs_tokenizer=not random_init)
    if not random_init and not list((folder / "unet").glob("*.safetensors")):
        raise BaseModelError(
            f"The base model {base!r} has no weights (unet/*.safetensors) in {folder}. Give a folder with "
            "weights, or `--model.random_init true` to build it with random ones."
        )
    _check_shards(folder)


def check_configs(folder: Path, base: str, needs_tokenizer: bool = True) -> None:
    """Refuse configs of a base that lack a part, or describe what cannot be run.

    Args:
        folder: The folder.
        base: What the config calls it.
        needs_tokenizer: Whether the tokenizer must be there.

    Raises:
        BaseModelError: If so.
    """
    _check_parts(folder, base, needs_tokenizer)
    _check_sizes(folder, base)
    check_unet(read_mapping(folder / "unet" / "config.json", BaseModelError), base)


def _check_parts(folder: Path, base: str, needs_tokenizer: bool) -> None:
    named = PARTS | (SECOND if needs_second(folder) else {})
    needed = {k: v for k, v in named.items() if needs_tokenizer or not k.startswith("tokenizer")}
    absent = [part for part, file in needed.items() if not (folder / part / file).is_file()]
    if "tokenizer" in absent and (folder / "tokenizer" / "vocab.json").is_file():
        absent.remove("tokenizer")
    if absent:
        raise BaseModelError(
            f"The base model {base!r} lacks {absent} in {folder}. A diffusers folder of its kind has {list(named)}."
        )


def needs_second(folder: Path) -> bool:
    """Whether a U-Net wants a second text encoder's pooled embedding."""
    path = folder / "unet" / "config.json"
    return path.is_file() and read_mapping(path, BaseModelError).get("addition_embed_type") == "text_time"


def _check_sizes(folder: Path, base: str) -> None:
    """Refuse parts that no such model has: they would take all memory, or never end."""
    for part, ranges in SIZES.items():
        config = read_mapping(folder / part / PARTS[part], BaseModelError)
        present = {name: config[name] for name in ranges if config.get(name) is not None}
        check_ranges(BaseModelError, f"{base}/{part}", present, {name: ranges[name] for name in present})


def _check_shards(folder: Path) -> None:
    """Refuse an index of weights that names anything but safetensors beside it (see CVE-2026-69112 of accelerate)."""
    for path in folder.glob("*/*.index.json"):
        files = read_mapping(path, BaseModelError).get("weight_map", {})
        names = files.values() if isinstance(files, dict) else [files]
        bad = [name for name in names if not isinstance(name, str) or "/" in name or not name.endswith(".safetensors")]
        if bad:
            raise BaseModelError(f"{path} takes weights from {bad[0]!r}, which is no safetensors file beside it.")


def check_unet(config: dict[str, Any], base: str) -> None:
    """Refuse a U-Net that needs more than latents, time and text, or has no attentions.

    Args:
        config: Its config.
        base: What the user calls the base.

    Raises:
        BaseModelError: If so.
    """
    if config.get("_class_name", "UNet2DConditionModel") != "UNet2DConditionModel":
        raise BaseModelError(
            f"The base model {base!r} has a {config['_class_name']}, but memcontrol adapts "
            "UNet2DConditionModel (Stable Diffusion 1.x, 2.x and XL)."
        )
    if config.get("addition_embed_type") not in (None, "text_time"):
        raise BaseModelError(
            f"The U-Net of {base!r} needs {config['addition_embed_type']!r} besides text (`addition_embed_type`). "
            f"{CAN_RUN}"
        )
    more = [what for option, what in NEEDS_MORE.items() if config.get(option) is not None]
    if more:
        raise BaseModelError(f"The U-Net of {base!r} needs {', '.join(dict.fromkeys(more))} besides text. {CAN_RUN}")
    if config.get("in_channels", 4) != config.get("out_channels", 4):
        raise BaseModelError(
            f"The U-Net of {base!r} takes {config.get('in_channels', 4)} channels and gives "
            f"{config.get('out_channels', 4)}: it needs more than a latent (inpainting models, a mask and the masked "
            f"picture). {CAN_RUN}"
        )
    size = config.get("sample_size", 64)
    sides = size if isinstance(size, list | tuple) and len(size) == 2 else [size]
    if not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        raise BaseModelError(
            f"The U-Net of {base!r} has a `sample_size` of {size}, but it must be a whole number, or height and width."
        )
    blocks = [*config.get("down_block_types", ()), *config.get("up_block_types", ())]
    if not any("CrossAttn" in block for block in blocks):
        raise BaseModelError(
            f"The U-Net of {base!r} has no attentions ({blocks}), so there is no text to follow and no slot "
            "to adapt. Give a text-to-image U-Net."
        )


def check_together(folder: Path) -> None:
    """Refuse parts that do not fit each other: they load, and fail in the first step."""
    unet, vae, text = (
        read_mapping(folder / part / PARTS[part], BaseModelError) for part in ("unet", "vae", "text_encoder")
    )
    channels, wanted = vae.get("latent_channels", 4), unet.get("in_channels", 4)
    if wanted != channels:
        raise BaseModelError(f"The U-Net takes {wanted} channels, but the auto-encoder gives {channels}. {CAN_RUN}")
    second = folder / "text_encoder_2" / "config.json"
    width = text.get("hidden_size", 512 if is_clip(text) else 768)
    if needs_second(folder):
        width += read_mapping(second, BaseModelError).get("hidden_size", 512)
    wanted = unet.get("cross_attention_dim", 1280)
    if isinstance(wanted, int) and wanted != width:
        raise BaseModelError(
            f"The U-Net attends to text states of width {wanted}, but the text encoder gives {width}. {CAN_RUN}"
        )


def is_clip(config: dict[str, Any]) -> bool:
    """Whether a text encoder is CLIP's; BERT's relatives are loaded as the BERT that they are, without their own code.

    Raises:
        BaseModelError: If it is neither.
    """
    names = " ".join([str(config.get("model_type", "clip_text_model")), *map(str, config.get("architectures") or ())])
    if "clip" in names.casefold():
        return True
    if "bert" in names.casefold():
        return False
    raise BaseModelError(f"The text encoder is of the kind {names!r}, but must be CLIP's text model or BERT. {CAN_RUN}")
