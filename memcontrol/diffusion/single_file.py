"""A base in one `.safetensors` file, as trainers of Stability's layout write it: made a diffusers folder, once.

The names of its weights tell what kind of base it is; sizes, schedule and tokenizer are not in the file. They are taken
from a folder of the file's name beside it (`cxr.safetensors`, `cxr/unet/config.json`, ...), and else from the hub, of
the model that diffusers' `from_single_file` holds it for.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    DIFFUSERS_DEFAULT_PIPELINE_PATHS,
    create_diffusers_clip_model_from_ldm,
    infer_diffusers_model_type,
)
from filelock import FileLock
from huggingface_hub import snapshot_download
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from memcontrol.diffusion.components import Components, load_scheduler, load_tokenizer
from memcontrol.diffusion.layout import CAN_RUN, PARTS, SECOND, check_configs, needs_second
from memcontrol.errors import BaseModelError
from memcontrol.files.private_folder import keep_private

__all__ = ["configs_of_file", "folder_of_file"]

log = logging.getLogger("memcontrol")
CONFIGS: Final = ("*.json", "*/*.json", "*/*.txt")
"""What is taken of a model of the hub: no weights."""
KINDS: Final = ("v1", "v2", "xl_base")
"""Kinds of single files, in diffusers' words, whose U-Nets can be run."""
DENOISER: Final = "model.diffusion_model."
AUTOENCODER: Final = "first_stage_model."
TEXT: Final = ("cond_stage_model.", "conditioner.")
"""How names of the parts' weights begin in such a file."""
TINY: Final = {torch.float8_e4m3fn: torch.float16, torch.float8_e5m2: torch.float16}
"""Precisions that no layer computes in, and what they are kept in."""


def configs_of_file(file: Path, online: bool = True) -> Path:
    """Return a folder with the configs and the tokenizer of a single file; its weights are not read.

    Args:
        file: The file.
        online: Whether they may be fetched over the network.

    Raises:
        BaseModelError: If it is no such file, or they are not at hand.
    """
    kind = _kind(file)
    beside = file.with_suffix("")
    if os.path.lexists(beside / "unet" / PARTS["unet"]):  # whatever it is: what is meant is not fetched instead
        configs = beside
    else:
        where = DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"]
        try:
            configs = Path(snapshot_download(where, allow_patterns=list(CONFIGS), local_files_only=not online))
        except (OSError, ValueError) as error:
            raise BaseModelError(
                f"The base {str(file)!r} is a single file, which holds no sizes and no tokenizer. Those of {where} "
                f"could not be {'fetched' if online else 'found in the cache'}: {_said(error)} Put them "
                f"(unet/config.json, vae/config.json, text_encoder/config.json, scheduler/, tokenizer/) into {beside}."
            ) from error
    check_configs(configs, str(file))
    load_scheduler(configs)  # refuses one that cannot be run
    return configs


def folder_of_file(file: Path, online: bool = True) -> Path:
    """Return the diffusers folder of a single file, which is made if there is none yet.

    It lies in the user's cache folder under `memcontrol/bases`, takes as much space as the file, and stands for the
    file and its configs as they are now: when one of them changes, it is made anew, and the older one goes.

    Args:
        file: The file.
        online: Whether its configs may be fetched over the network.

    Raises:
        BaseModelError: If it is no such file, its configs are not at hand, or the two do not belong together.
    """
    cache = user_cache_path("memcontrol")
    for folder in (cache, cache / "bases"):
        keep_private(folder, BaseModelError, "The user's cache folder", "Or set XDG_CACHE_HOME to a folder of yours.")
    configs = configs_of_file(file, online)
    status = file.stat()
    digest = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode())
    for path in sorted(path for part in PARTS | SECOND for path in (configs / part).glob("*")):
        if path.suffix in (".json", ".txt") and path.is_file():  # a pipe would be waited for
            digest.update(f"{path.relative_to(configs)} ".encode() + path.read_bytes())
    place = f"{file.stem}-{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    folder = cache / "bases" / f"{place}-{digest.hexdigest()[:16]}"
    with FileLock(cache / "bases" / f"{place}.lock"):  # of several ranks, one makes it
        if not folder.is_dir():
            _make(file, configs, folder)
            for older in folder.parent.glob(f"{place}-*"):
                if older != folder:
                    shutil.rmtree(older)
    return folder


def _kind(file: Path) -> str:
    """Return which base a file holds, by the names and shapes of its weights."""
    try:
        with safe_open(file, "pt") as opened:
            names = list(opened.keys())
            shapes = {name: torch.empty(opened.get_slice(name).get_shape(), device="meta") for name in names}
        kind = infer_diffusers_model_type(shapes)
    except Exception as error:  # whatever a damaged file leads to
        raise BaseModelError(
            f"The base {str(file)!r} cannot be read as safetensors of a model: {_said(error)} Is it whole?"
        ) from error
    if kind not in KINDS or not any(name.startswith(DENOISER) for name in shapes):
        raise BaseModelError(
            f"The base {str(file)!r} holds no U-Net of Stable Diffusion 1.x, 2.x or XL (`{DENOISER}...`): diffusers "
            f"takes it for {kind!r}. {CAN_RUN} If it is a LoRA, it is no base: give what it was trained on."
        )
    return str(kind)


def _make(file: Path, configs: Path, folder: Path) -> None:
    size, free = file.stat().st_size, shutil.disk_usage(folder.parent).free
    if size > free:
        raise BaseModelError(
            f"The base {str(file)!r} is to become a folder in {folder.parent}, which needs {size / 2**30:.1f} GiB, but "
            f"{free / 2**30:.1f} GiB are free. Make room, or set XDG_CACHE_HOME to a folder of a larger disk."
        )
    prediction = load_scheduler(configs).config["prediction_type"]
    said = "Making a diffusers folder of %s, once (%.1f GiB), with the configs of %s (%s)"
    log.info(said, file.name, size / 2**30, configs, prediction)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        try:
            pipeline = _convert(load_file(file), configs).pipeline()
        except Exception as error:  # whatever weights of another kind lead to
            raise BaseModelError(
                f"The base {str(file)!r} does not fit the configs in {configs}: {_said(error)} Put those of its own "
                f"kind into {file.with_suffix('')}."
            ) from error
        try:
            pipeline.save_pretrained(unfinished)
        except (OSError, SafetensorError) as error:
            raise BaseModelError(
                f"The folder of the base {str(file)!r} could not be written to {folder.parent}: {_said(error)}"
            ) from error
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _convert(weights: dict[str, torch.Tensor], configs: Path) -> Components:
    """Return the parts that are in a file, each in its own precision."""
    options: dict[str, Any] = {"config": str(configs), "local_files_only": True}

    def part(kind: Any, name: str, begins: str) -> Any:
        return kind.from_single_file(weights, subfolder=name, torch_dtype=_precision(weights, begins), **options)

    def text(kind: Any, name: str) -> Any:
        precision = _precision(weights, TEXT)
        return create_diffusers_clip_model_from_ldm(kind, weights, subfolder=name, torch_dtype=precision, **options)

    makers: dict[str, Callable[[], Any]] = {
        "unet": lambda: part(UNet2DConditionModel, "unet", DENOISER),
        "vae": lambda: part(AutoencoderKL, "vae", AUTOENCODER),
        "text_encoder": lambda: text(CLIPTextModel, "text_encoder"),
        "tokenizer": lambda: load_tokenizer(configs, "tokenizer"),
        "scheduler": lambda: load_scheduler(configs),
    }
    if needs_second(configs):
        makers["text_encoder_2"] = lambda: text(CLIPTextModelWithProjection, "text_encoder_2")
        makers["tokenizer_2"] = lambda: load_tokenizer(configs, "tokenizer_2")
    found = {}
    with _without_hint_about_precision():
        for name, make in tqdm(makers.items(), desc="parts of the base", delay=2, leave=False):
            try:
                found[name] = made = make()
            except NotImplementedError as error:  # of PyTorch: what is still on the meta device cannot be cast
                raise ValueError(f"weights of {name} are missing") from error
            if isinstance(made, torch.nn.Module) and any(weight.is_meta for weight in made.parameters()):
                raise ValueError(f"weights of {name} are missing")
    return Components(**found)


@contextlib.contextmanager
def _without_hint_about_precision() -> Iterator[None]:
    """Keep diffusers from warning of modules that a cast could spoil, of which there are none here."""
    logger = logging.getLogger("diffusers.models.modeling_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _precision(weights: Mapping[str, torch.Tensor], begins: str | tuple[str, ...]) -> torch.dtype:
    """Return the precision of a part, by its first matrix."""
    own = (w.dtype for name, w in weights.items() if name.startswith(begins) and w.is_floating_point() and w.ndim > 1)
    found = next(own, torch.float32)
    return TINY.get(found, found)


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{(lines[0] if lines else type(error).__name__).rstrip('.')}."
