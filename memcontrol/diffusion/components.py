"""The parts of a Stable Diffusion pipeline, loaded from a folder or built after its configs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDPMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
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
from memcontrol.diffusion.layout import CAN_RUN, PARTS, SECOND, check_together, is_clip, needs_second
from memcontrol.errors import BaseModelError
from memcontrol.plain import read_mapping
from memcontrol.seeds import scoped_seed
from memcontrol.sizes import Size, height_and_width, size_of

__all__ = [
    "Components", "Pipeline", "Vae", "build_parts", "drawn_size", "is_xl", "load_parts", "load_scheduler",
    "load_tokenizer",
    "register_drawn_size",
]  # fmt: skip

Vae: TypeAlias = AutoencoderKL | AutoencoderTiny
Pipeline: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline

ASSETS: Final = Path(__file__).parents[1] / "assets"
DRAWN: Final = "drawn_size"
"""Where the config of a U-Net of Stable Diffusion XL keeps height and width, in latents, that are not square."""
EMBEDDED: Final = ASSETS / "phantom-sd"
"""The phantoms' base, which comes with the package."""


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


def drawn_size(unet: Any, factor: int) -> Size:
    """Return what a pipeline draws unless it is told otherwise, in pixels.

    Args:
        unet: Its U-Net.
        factor: Pixels per latent, along one side.
    """
    found = unet.config.get(DRAWN) or unet.config["sample_size"]
    height, width = (found, found) if isinstance(found, int) else found
    return size_of(height * factor, width * factor)


def register_drawn_size(unet: Any, size: Size, factor: int) -> None:
    """Let a pipeline of diffusers draw this size unless it is told otherwise, and write it into the U-Net's config.

    Diffusers' pipeline of Stable Diffusion XL knows squares only, so that another shape must be asked for there by
    `height` and `width`; `drawn_size` knows it nevertheless.

    Args:
        unet: Its U-Net.
        size: Height and width, in pixels.
        factor: Pixels per latent, along one side.
    """
    height, width = (side // factor for side in height_and_width(size))
    if height == width:
        unet.register_to_config(sample_size=height)
    elif unet.config["addition_embed_type"] == "text_time":
        unet.register_to_config(sample_size=max(height, width), **{DRAWN: [height, width]})
    else:
        unet.register_to_config(sample_size=[height, width])


def is_xl(pipeline: Any) -> bool:
    """Whether a pipeline is that of a Stable Diffusion XL."""
    return getattr(pipeline, "text_encoder_2", None) is not None


def _vae_class(folder: Path) -> type[Vae]:
    name = read_mapping(folder / "vae" / "config.json", BaseModelError).get("_class_name", "AutoencoderKL")
    if name not in ("AutoencoderKL", "AutoencoderTiny"):
        raise BaseModelError(f"The auto-encoder must be AutoencoderKL or AutoencoderTiny, but got {name}.")
    found: type[Vae] = AutoencoderTiny if name == "AutoencoderTiny" else AutoencoderKL
    return found


def load_scheduler(folder: Path) -> DDPMScheduler:
    """Return the noise schedule of a base's folder.

    Raises:
        BaseModelError: If the model predicts neither noise nor velocity, or is one of EDM's.
    """
    config = read_mapping(folder / "scheduler" / "scheduler_config.json", BaseModelError)
    if "EDM" in str(config.get("_class_name")):
        raise BaseModelError(
            f"The scheduler is {config['_class_name']}, whose U-Net is given preconditioned inputs (EDM). {CAN_RUN}"
        )
    scheduler = DDPMScheduler.from_config(config)
    if scheduler.config["prediction_type"] not in ("epsilon", "v_prediction"):
        raise BaseModelError(
            "The scheduler's `prediction_type` must be epsilon or v_prediction, but got "
            f"{scheduler.config['prediction_type']!r}."
        )
    return scheduler


def load_parts(folder: Path) -> Components:
    """Load the parts of a base's folder, in single precision.

    Raises:
        BaseModelError: If they do not fit each other.
    """
    options: dict[str, Any] = {"torch_dtype": torch.float32, "low_cpu_mem_usage": True}
    check_together(folder)
    return Components(
        unet=UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True, **options),
        vae=_vae_class(folder).from_pretrained(folder / "vae", use_safetensors=True, **options),
        text_encoder=_load_encoder(folder / "text_encoder", CLIPTextModel),
        tokenizer=load_tokenizer(folder, "tokenizer"),
        scheduler=load_scheduler(folder),
        **(
            {
                "text_encoder_2": _load_encoder(folder / "text_encoder_2", CLIPTextModelWithProjection),
                "tokenizer_2": load_tokenizer(folder, "tokenizer_2"),
            }
            if needs_second(folder)
            else {}
        ),
    )


def _load_encoder(folder: Path, clip: type[Any]) -> Any:
    config = read_mapping(folder / "config.json", BaseModelError)
    options: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32}
    if is_clip(config):
        return clip.from_pretrained(folder, **options)
    return BertModel.from_pretrained(folder, config=_bert(config), add_pooling_layer=False, **options)


def _bert(config: dict[str, Any]) -> BertConfig:
    """Return BERT's own config of a relative's, which names code of its own."""
    known = BertConfig().to_dict()
    return BertConfig(**{k: v for k, v in config.items() if k in known and k not in ("model_type", "architectures")})


def load_tokenizer(folder: Path, name: str) -> Any:
    """Return a tokenizer of a base's folder, or the phantoms' where it has none.

    Args:
        folder: The base's folder.
        name: `tokenizer` or `tokenizer_2`.
    """
    own = folder / name
    if not own.is_dir():
        own = EMBEDDED / "tokenizer"
    is_bert = (own / "vocab.txt").is_file() or (
        not (own / "vocab.json").is_file() and (own / "tokenizer.json").is_file() and not is_clip(_text_config(folder))
    )
    tokenizer = (BertTokenizerFast if is_bert else CLIPTokenizer).from_pretrained(own)
    encoder = folder / name.replace("tokenizer", "text_encoder") / "config.json"
    read = int(read_mapping(encoder, BaseModelError).get("max_position_embeddings", 77))
    tokenizer.model_max_length = min(tokenizer.model_max_length, read)  # some state none, and diffusers pads to it
    return tokenizer


def _text_config(folder: Path) -> dict[str, Any]:
    return read_mapping(folder / "text_encoder" / "config.json", BaseModelError)


def build_parts(folder: Path, seed: int) -> Components:
    """Build the parts that the configs of a base's folder describe, with random weights.

    Raises:
        BaseModelError: If they do not fit each other.
    """

    def config(part: str) -> dict[str, Any]:
        return read_mapping(folder / part / {**PARTS, **SECOND}[part], BaseModelError)

    check_together(folder)
    with scoped_seed(seed, "random weights"):
        unet = UNet2DConditionModel.from_config(config("unet"))
        vae = _vae_class(folder).from_config(config("vae"))
        text = config("text_encoder")
        encoder = CLIPTextModel(CLIPTextConfig.from_dict(text)) if is_clip(text) else BertModel(_bert(text), False)
        second: dict[str, Any] = {}
        if needs_second(folder):
            described = CLIPTextConfig.from_dict(config("text_encoder_2"))
            second = {
                "text_encoder_2": CLIPTextModelWithProjection(described),
                "tokenizer_2": load_tokenizer(folder, "tokenizer_2"),
            }
    return Components(
        unet=unet,
        vae=vae,
        text_encoder=encoder,
        tokenizer=load_tokenizer(folder, "tokenizer"),
        scheduler=load_scheduler(folder),
        **second,
    )
