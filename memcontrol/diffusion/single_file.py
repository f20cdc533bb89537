"""A base in one `.safetensors` file, as trainers of Stability's layout write it: made a diffusers folder, once.

The weights' names tell what kind of base it is; sizes, schedule and tokenizer are not in the file. They are taken from
a folder of the file's name beside it (`cxr.safetensors`, `cxr/`), and else from the hub, of the model that diffusers'
`from_single_file` holds it for.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    DIFFUSERS_DEFAULT_PIPELINE_PATHS,
    create_diffusers_clip_model_from_ldm,
    infer_diffusers_model_type,
    load_single_file_checkpoint,
)
from filelock import FileLock
from huggingface_hub import snapshot_download
from platformdirs import user_cache_path
from safetensors import SafetensorError
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from memcontrol.diffusion.components import Components, load_scheduler, load_tokenizer
from memcontrol.diffusion.layout import CAN_RUN, check_configs, needs_second
from memcontrol.errors import BaseModelError

__all__ = ["folder_of_file"]

log = logging.getLogger("memcontrol")
CONFIGS: Final = ("*.json", "*/*.json", "*/*.txt")
"""What is taken of a model of the hub: no weights."""
KINDS: Final = ("v1", "v2", "xl_base", "playground-v2-5")
"""Kinds of single files, in diffusers' words, whose U-Nets can be run."""
DENOISER: Final = "model.diffusion_model."
"""How names of a denoiser's weights begin in such a file."""


def folder_of_file(file: Path, online: bool = True) -> Path:
    """Return the diffusers folder of a single file, which is made if there is none yet.

    It lies in the user's cache folder under `memcontrol/bases`, takes as much space as the file, and stands for the
    file as it is now: a file that was written again is converted again.

    Args:
        file: The file.
        online: Whether its configs may be fetched over the network.

    Raises:
        BaseModelError: If it is no such file, its configs are not at hand, or the two do not belong together.
    """
    status = file.stat()
    known = f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"
    cache = user_cache_path("memcontrol")
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = cache / "bases" / f"{file.stem}-{hashlib.sha256(known.encode()).hexdigest()[:16]}"
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # of several ranks, one makes it
        if not folder.is_dir():
            _make(file, folder, online)
    return folder


def _make(file: Path, folder: Path, online: bool) -> None:
    size, free = file.stat().st_size, shutil.disk_usage(folder.parent).free
    if size > free:
        raise BaseModelError(
            f"The base {str(file)!r} is to become a folder in {folder.parent}, which needs {size / 2**30:.1f} GiB, but "
            f"{free / 2**30:.1f} GiB are free. Make room, or set XDG_CACHE_HOME to a folder of a larger disk."
        )
    log.info("Making a diffusers folder of %s, once (%.1f GiB)", file.name, size / 2**30)
    try:
        weights = load_single_file_checkpoint(str(file), local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise BaseModelError(f"The base {str(file)!r} cannot be read as safetensors: {error}") from error
    configs = _configs(file, weights, online)
    check_configs(configs, str(file))
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _convert(weights, configs).pipeline().save_pretrained(unfinished)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise BaseModelError(
            f"The base {str(file)!r} does not fit the configs in {configs}: {str(error).splitlines()[0]}. Put those of "
            f"its own kind into {file.with_suffix('')}."
        ) from error
    unfinished.rename(folder)


def _configs(file: Path, weights: Mapping[str, torch.Tensor], online: bool) -> Path:
    """Return a folder with configs and tokenizer of a file's kind."""
    kind = infer_diffusers_model_type(weights)
    if kind not in KINDS or not any(name.startswith(DENOISER) for name in weights):
        raise BaseModelError(
            f"The base {str(file)!r} holds no U-Net of Stable Diffusion 1.x, 2.x or XL (`{DENOISER}...`): diffusers "
            f"takes it for {kind!r}. {CAN_RUN} If it is a LoRA, it is no base: give what it was trained on."
        )
    beside = file.with_suffix("")
    if beside.is_dir():
        return beside
    model = DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"]
    try:
        return Path(snapshot_download(model, allow_patterns=list(CONFIGS), local_files_only=not online))
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"The base {str(file)!r} is a single file, which holds no sizes and no tokenizer. Those of {model} could "
            f"not be {'fetched' if online else 'found in the cache'}: {str(error).splitlines()[0]} Put them "
            f"(unet/config.json, vae/config.json, text_encoder/config.json, scheduler/, tokenizer/) into {beside}."
        ) from error


def _convert(weights: dict[str, torch.Tensor], configs: Path) -> Components:
    """Return the parts that are in a file."""
    dtype = next(weight.dtype for name, weight in weights.items() if name.startswith(DENOISER))
    options: dict[str, Any] = {"config": str(configs), "local_files_only": True, "torch_dtype": dtype}

    def part(kind: Any, name: str) -> Any:
        return kind.from_single_file(weights, subfolder=name, **options)

    def text(kind: Any, name: str) -> Any:
        return create_diffusers_clip_model_from_ldm(kind, weights, subfolder=name, **options)

    makers: dict[str, Callable[[], Any]] = {
        "unet": lambda: part(UNet2DConditionModel, "unet"),
        "vae": lambda: part(AutoencoderKL, "vae"),
        "text_encoder": lambda: text(CLIPTextModel, "text_encoder"),
        "tokenizer": lambda: load_tokenizer(configs, "tokenizer"),
        "scheduler": lambda: load_scheduler(configs),
    }
    if needs_second(configs):
        makers["text_encoder_2"] = lambda: text(CLIPTextModelWithProjection, "text_encoder_2")
        makers["tokenizer_2"] = lambda: load_tokenizer(configs, "tokenizer_2")
    found = {name: make() for name, make in tqdm(makers.items(), desc="parts of the base", delay=2, leave=False)}
    for name, model in found.items():
        absent = [key for key, weight in model.named_parameters() if weight.is_meta] if _is_module(model) else []
        if absent:
            raise ValueError(f"it lacks {len(absent)} weights of {name}, first {absent[0]!r}")
    return Components(**found)


def _is_module(part: Any) -> bool:
    return isinstance(part, torch.nn.Module)
