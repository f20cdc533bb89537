"""Find a base model by what a config calls it, and load it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError

from memcontrol.diffusion.components import ASSETS, EMBEDDED, Components, build_parts, load_parts
from memcontrol.diffusion.layout import check_folder, check_unet
from memcontrol.diffusion.single_file import configs_of_file, folder_of_file
from memcontrol.errors import BaseModelError
from memcontrol.plain import read_mapping

__all__ = ["build_skeleton", "load_components", "locate"]

ALIASES: Final = {"embedded": EMBEDDED, "sd15": ASSETS / "sd15"}
SKELETONS: Final = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": ASSETS / "sd15",
    "runwayml/stable-diffusion-v1-5": ASSETS / "sd15",
    "CompVis/stable-diffusion-v1-4": ASSETS / "sd15",
    "stabilityai/stable-diffusion-xl-base-1.0": ASSETS / "sdxl",
}
"""Hub ids whose U-Net's config comes with the package."""
UNUSED: Final = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of a pipeline that are neither fetched nor loaded."""


def locate(base: str, download: bool = True, online: bool = True) -> Path | str:
    """Find a base model.

    Args:
        base: `embedded` (the phantom model that comes with memcontrol), `sd15` (Stable Diffusion 1.5's
            configs, without weights), a diffusers folder, a single `.safetensors` file (see
            `memcontrol.diffusion.single_file`), or a hub id.
        download: Whether a hub id is fetched, and a single file made a folder; if not, the id itself is returned, or a
            folder with the configs of the file alone.
        online: Whether it may be fetched over the network; if not, only what is in the cache is taken.

    Returns:
        A folder, or the hub id.

    Raises:
        BaseModelError: If there is no such folder, or the hub cannot be reached.
    """
    if base in ALIASES:
        return ALIASES[base]
    folder = Path(base).expanduser()
    if folder.is_dir():
        return folder
    if folder.suffix == ".safetensors" and folder.is_file():
        return folder_of_file(folder, online) if download else configs_of_file(folder, online)
    if folder.suffix == ".safetensors":
        raise BaseModelError(f"Argument `base` is {base!r}, and there is no such file. Check the path.")
    if folder.suffix in (".ckpt", ".pt", ".bin"):
        raise BaseModelError(
            f"Argument `base` is {base!r}, a pickle, which can run code when it is read. Convert it to `.safetensors` "
            "once, on a machine that holds nothing private, and give that."
        )
    if base.count("/") != 1 or base.startswith((".", "/", "~")):
        raise BaseModelError(
            f"Argument `base` is {base!r}, which is no folder. Allowed are `embedded`, a diffusers folder "
            "(with unet/, vae/, ...), a single .safetensors file, or a hub id such as "
            "stable-diffusion-v1-5/stable-diffusion-v1-5."
        )
    if not online:
        return _cached(base)
    if not download:
        return base
    try:
        return Path(DiffusionPipeline.download(base, use_safetensors=True, **dict.fromkeys(UNUSED)))
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"Argument `base` is {base!r}, which is no folder here and could not be fetched from the hub: "
            f"{str(error).splitlines()[0]} Check the spelling and the network, or give a folder."
        ) from error


def _cached(base: str) -> Path:
    """Return the folder of a hub id that was fetched before, without a word to the network."""
    found = try_to_load_from_cache(base, "model_index.json")
    if not isinstance(found, str):
        raise BaseModelError(
            f"The base is {base!r} of the hub, which is not in the cache. A file that names a base does not fetch it "
            f"by itself: if you trust that model, say `--base {base}`."
        )
    return Path(found).parent


def load_components(base: str, random_init: bool = False, seed: int = 0, online: bool = True) -> Components:
    """Load a base model, in single precision.

    Args:
        base: See `locate`.
        random_init: Whether to build the parts from their configs alone, with random weights. What the
            folder lacks of the tokenizer is then taken from the embedded base.
        seed: Seed of the random weights.
        online: Whether a hub id may be fetched over the network.

    Raises:
        BaseModelError: If the model is not found, lacks a part, or has no attentions.
    """
    folder = Path(locate(base, online=online))
    check_folder(folder, base, random_init)
    try:
        parts = build_parts(folder, seed) if random_init else load_parts(folder)
    except BaseModelError as error:
        raise BaseModelError(f"The base model {base!r} cannot be run. {error}") from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BaseModelError(f"The base model {base!r} could not be loaded: {error}") from error
    encoders = [part for part in (parts.text_encoder, parts.text_encoder_2) if part is not None]
    for name in ("unet", "vae", "text_encoder", *(["text_encoder_2"] if len(encoders) > 1 else [])):
        absent = [key for key, weight in getattr(parts, name).named_parameters() if weight.is_meta]
        if absent:
            raise BaseModelError(f"The base model {base!r} lacks {len(absent)} weights of {name}, first {absent[0]!r}.")
    for part in (parts.unet, parts.vae):  # what is written from them names a model of the hub, but no folder
        part.register_to_config(_name_or_path="" if Path(base).expanduser().exists() else base)
    parts.vae.requires_grad_(False).eval()
    for encoder in encoders:
        encoder.requires_grad_(False).eval()
    return parts


def build_skeleton(base: str, online: bool = True) -> UNet2DConditionModel:
    """Build the U-Net of a base on the `meta` device: names and shapes, no memory, no weights.

    Ids of Stable Diffusion 1.x and XL need no network: their config comes with the package.

    Args:
        base: See `locate`.
        online: Whether the config of a hub id may be fetched over the network.

    Raises:
        BaseModelError: If the config is not found, or has no attentions.
    """
    where = SKELETONS.get(base) or locate(base, download=False, online=online)
    if isinstance(where, Path):
        path = where / "unet" / "config.json"
        if not path.is_file():
            raise BaseModelError(
                f"The base model {base!r} has no unet/config.json in {where}. Give the folder of a whole diffusers "
                "pipeline (unet/, vae/, text_encoder/, tokenizer/, scheduler/), as its `save_pretrained` writes it."
            )
        config = read_mapping(path, BaseModelError)
    else:
        try:
            config = UNet2DConditionModel.load_config(where, subfolder="unet")
        except OSError as error:
            raise BaseModelError(f"The hub could not give the config of {base!r}: {error}") from error
    check_unet(config, base)
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(config)
