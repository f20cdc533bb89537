"""Load or build the parts of a Stable Diffusion pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDPMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from memcontrol.diffusion.conditions import take_packed
from memcontrol.errors import BaseModelError
from memcontrol.plain import read_mapping
from memcontrol.ranges import check_ranges
from memcontrol.seeds import scoped_seed

__all__ = ["Components", "Pipeline", "Vae", "build_skeleton", "is_xl", "load_components", "locate"]

Vae: TypeAlias = AutoencoderKL | AutoencoderTiny
Pipeline: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline

CAN_RUN: Final = (
    "What can be run is Stable Diffusion 1.x, 2.x and XL and their kind: latents, text encoded by CLIP (one or two) or "
    "by BERT, noise or velocity."
)

ASSETS: Final = Path(__file__).parents[1] / "assets"
ALIASES: Final = {"embedded": ASSETS / "phantom-sd", "sd15": ASSETS / "sd15"}
SKELETONS: Final = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": ASSETS / "sd15",
    "runwayml/stable-diffusion-v1-5": ASSETS / "sd15",
    "CompVis/stable-diffusion-v1-4": ASSETS / "sd15",
    "stabilityai/stable-diffusion-xl-base-1.0": ASSETS / "sdxl",
}
"""Hub ids whose U-Net's config comes with the package."""
PARTS: Final = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
SECOND: Final = {"text_encoder_2": "config.json", "tokenizer_2": "tokenizer_config.json"}
"""What Stable Diffusion XL has besides."""
UNUSED: Final = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of a pipeline that are neither fetched nor loaded."""
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


@dataclass
class Components:
    """The parts of one base model.

    Args:
        unet: The denoiser.
        vae: The auto-encoder, frozen, in eval mode.
        text_encoder: The text encoder, frozen, in eval mode: CLIP's, or BERT.
        tokenizer: Its tokenizer.
        scheduler: The noise schedule of training: betas and what is predicted.
        text_encoder_2: The second text encoder of Stable Diffusion XL, with its projection.
        tokenizer_2: Its tokenizer.
    """

    unet: UNet2DConditionModel
    vae: Vae
    text_encoder: CLIPTextModel | BertModel
    tokenizer: CLIPTokenizer | BertTokenizerFast
    scheduler: DDPMScheduler
    text_encoder_2: CLIPTextModelWithProjection | None = None
    tokenizer_2: CLIPTokenizer | None = None

    def __post_init__(self) -> None:
        """Let the U-Net of a Stable Diffusion XL take what we call it with."""
        if self.text_encoder_2 is not None:
            take_packed(self.unet, 2 ** (len(self.vae.config["block_out_channels"]) - 1))

    def truncate(self, side: str) -> None:
        """Cut captions that are too long at their `right` end (diffusers' way) or at their `left` one."""
        for tokenizer in (self.tokenizer, self.tokenizer_2):
            if tokenizer is not None:
                tokenizer.truncation_side = side

    def pipeline(self) -> Pipeline:
        """Return a diffusers pipeline of these parts, without copying them."""
        if self.text_encoder_2 is not None:
            return StableDiffusionXLPipeline(
                vae=self.vae,
                text_encoder=self.text_encoder,
                text_encoder_2=self.text_encoder_2,
                tokenizer=self.tokenizer,
                tokenizer_2=self.tokenizer_2,
                unet=self.unet,
                scheduler=self.scheduler,
                add_watermarker=False,
            )
        return StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def is_xl(pipeline: Any) -> bool:
    """Whether a pipeline is that of a Stable Diffusion XL."""
    return getattr(pipeline, "text_encoder_2", None) is not None


def locate(base: str, download: bool = True, online: bool = True) -> Path | str:
    """Find a base model.

    Args:
        base: `embedded` (the phantom model that comes with memcontrol), `sd15` (Stable Diffusion 1.5's
            configs, without weights), a diffusers folder, or a hub id.
        download: Whether a hub id is fetched; if not, the id itself is returned.
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
    if folder.suffix in (".safetensors", ".ckpt"):
        raise BaseModelError(
            f"Argument `base` is {base!r}, a single file, which names no text encoder and no tokenizer. Make a folder "
            "of it once, with diffusers: `StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER)` (or "
            "`StableDiffusionXLPipeline`), and give that."
        )
    if base.count("/") != 1 or base.startswith((".", "/", "~")):
        raise BaseModelError(
            f"Argument `base` is {base!r}, which is no folder. Allowed are `embedded`, a diffusers folder "
            "(with unet/, vae/, ...), or a hub id such as stable-diffusion-v1-5/stable-diffusion-v1-5."
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
    _check_parts(folder, base, random_init)
    _check_sizes(folder, base)
    _check_shards(folder)
    _check_unet(read_mapping(folder / "unet" / "config.json", BaseModelError), base)
    try:
        parts = _build(folder, seed) if random_init else _load(folder)
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
    _check_unet(config, base)
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(config)


def _check_parts(folder: Path, base: str, random_init: bool) -> None:
    named = PARTS | (SECOND if _needs_second(folder) else {})
    needed = {k: v for k, v in named.items() if not (random_init and k.startswith("tokenizer"))}
    absent = [part for part, file in needed.items() if not (folder / part / file).is_file()]
    if "tokenizer" in absent and (folder / "tokenizer" / "vocab.json").is_file():
        absent.remove("tokenizer")
    if absent:
        raise BaseModelError(
            f"The base model {base!r} lacks {absent} in {folder}. A diffusers folder of its kind has {list(named)}."
        )
    if not random_init and not list((folder / "unet").glob("*.safetensors")):
        raise BaseModelError(
            f"The base model {base!r} has no weights (unet/*.safetensors) in {folder}. Give a folder with "
            "weights, or `--model.random_init true` to build it with random ones."
        )


def _needs_second(folder: Path) -> bool:
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


def _check_unet(config: dict[str, Any], base: str) -> None:
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
    blocks = [*config.get("down_block_types", ()), *config.get("up_block_types", ())]
    if not any("CrossAttn" in block for block in blocks):
        raise BaseModelError(
            f"The U-Net of {base!r} has no attentions ({blocks}), so there is no text to follow and no slot "
            "to adapt. Give a text-to-image U-Net."
        )


def _check_together(folder: Path) -> None:
    """Refuse parts that do not fit each other: they load, and fail in the first step."""
    unet, vae, text = (
        read_mapping(folder / part / PARTS[part], BaseModelError) for part in ("unet", "vae", "text_encoder")
    )
    channels, wanted = vae.get("latent_channels", 4), unet.get("in_channels", 4)
    if wanted != channels:
        raise BaseModelError(f"The U-Net takes {wanted} channels, but the auto-encoder gives {channels}. {CAN_RUN}")
    second = folder / "text_encoder_2" / "config.json"
    width = text.get("hidden_size", 512 if _is_clip(text) else 768)
    if _needs_second(folder):
        width += read_mapping(second, BaseModelError).get("hidden_size", 512)
    wanted = unet.get("cross_attention_dim", 1280)
    if isinstance(wanted, int) and wanted != width:
        raise BaseModelError(
            f"The U-Net attends to text states of width {wanted}, but the text encoder gives {width}. {CAN_RUN}"
        )


def _is_clip(config: dict[str, Any]) -> bool:
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


def _vae_class(folder: Path) -> type[Vae]:
    name = read_mapping(folder / "vae" / "config.json", BaseModelError).get("_class_name", "AutoencoderKL")
    if name not in ("AutoencoderKL", "AutoencoderTiny"):
        raise BaseModelError(f"The auto-encoder must be AutoencoderKL or AutoencoderTiny, but got {name}.")
    found: type[Vae] = AutoencoderTiny if name == "AutoencoderTiny" else AutoencoderKL
    return found


def _scheduler(folder: Path) -> DDPMScheduler:
    config = read_mapping(folder / "scheduler" / "scheduler_config.json", BaseModelError)
    scheduler = DDPMScheduler.from_config(config)
    if scheduler.config["prediction_type"] not in ("epsilon", "v_prediction"):
        raise BaseModelError(
            "The scheduler's `prediction_type` must be epsilon or v_prediction, but got "
            f"{scheduler.config['prediction_type']!r}."
        )
    return scheduler


def _load(folder: Path) -> Components:
    options: dict[str, Any] = {"torch_dtype": torch.float32, "low_cpu_mem_usage": True}
    _check_together(folder)
    return Components(
        unet=UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True, **options),
        vae=_vae_class(folder).from_pretrained(folder / "vae", use_safetensors=True, **options),
        text_encoder=_load_encoder(folder / "text_encoder", CLIPTextModel),
        tokenizer=_load_tokenizer(folder, "tokenizer"),
        scheduler=_scheduler(folder),
        **(
            {
                "text_encoder_2": _load_encoder(folder / "text_encoder_2", CLIPTextModelWithProjection),
                "tokenizer_2": _load_tokenizer(folder, "tokenizer_2"),
            }
            if _needs_second(folder)
            else {}
        ),
    )


def _load_encoder(folder: Path, clip: type[Any]) -> Any:
    config = read_mapping(folder / "config.json", BaseModelError)
    options: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32}
    if _is_clip(config):
        return clip.from_pretrained(folder, **options)
    return BertModel.from_pretrained(folder, config=_bert(config), add_pooling_layer=False, **options)


def _bert(config: dict[str, Any]) -> BertConfig:
    """Return BERT's own config of a relative's, which names code of its own."""
    known = BertConfig().to_dict()
    return BertConfig(**{k: v for k, v in config.items() if k in known and k not in ("model_type", "architectures")})


def _load_tokenizer(folder: Path, name: str) -> Any:
    own = folder / name
    if not own.is_dir():
        own = ALIASES["embedded"] / "tokenizer"
    is_bert = (own / "vocab.txt").is_file() or (
        not (own / "vocab.json").is_file() and (own / "tokenizer.json").is_file() and not _is_clip(_text_config(folder))
    )
    tokenizer = (BertTokenizerFast if is_bert else CLIPTokenizer).from_pretrained(own)
    encoder = folder / name.replace("tokenizer", "text_encoder") / "config.json"
    read = int(read_mapping(encoder, BaseModelError).get("max_position_embeddings", 77))
    tokenizer.model_max_length = min(tokenizer.model_max_length, read)  # some state none, and diffusers pads to it
    return tokenizer


def _text_config(folder: Path) -> dict[str, Any]:
    return read_mapping(folder / "text_encoder" / "config.json", BaseModelError)


def _build(folder: Path, seed: int) -> Components:
    def config(part: str) -> dict[str, Any]:
        return read_mapping(folder / part / {**PARTS, **SECOND}[part], BaseModelError)

    _check_together(folder)
    with scoped_seed(seed, "random weights"):
        unet = UNet2DConditionModel.from_config(config("unet"))
        vae = _vae_class(folder).from_config(config("vae"))
        text = config("text_encoder")
        encoder = CLIPTextModel(CLIPTextConfig.from_dict(text)) if _is_clip(text) else BertModel(_bert(text), False)
        second: dict[str, Any] = {}
        if _needs_second(folder):
            described = CLIPTextConfig.from_dict(config("text_encoder_2"))
            second = {
                "text_encoder_2": CLIPTextModelWithProjection(described),
                "tokenizer_2": _load_tokenizer(folder, "tokenizer_2"),
            }
    return Components(
        unet=unet,
        vae=vae,
        text_encoder=encoder,
        tokenizer=_load_tokenizer(folder, "tokenizer"),
        scheduler=_scheduler(folder),
        **second,
    )
