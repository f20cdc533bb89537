"""Small bases with random weights, in folders of exactly the layouts of real ones."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
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

from memcontrol.diffusion.bases import ALIASES

__all__ = ["KINDS", "make_base"]

WORDS = ["cxr", "pa", "ap", "lateral", "no", "acute", "finding", "cardiomegaly", "effusion", "60m", "20f", ";", ","]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SD15 = {
    "block_out_channels": (32, 32, 32, 32), "layers_per_block": 2, "attention_head_dim": 4, "cross_attention_dim": 32,
    "norm_num_groups": 16, "sample_size": 8,
}  # fmt: skip
KINDS = ("sd15", "sd21", "radedit", "sdxl")


def make_base(kind: str, folder: Path) -> Path:
    """Write a base of a kind; returns its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        MAKERS[kind](folder)
    return folder


def _vae(scaling: float = 0.18215) -> AutoencoderKL:
    channels = (16, 16, 16, 16)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=8,
        scaling_factor=scaling,
        sample_size=64,
    )


def _clip(kind: type = CLIPTextModel, width: int = 32, **options: object) -> CLIPTextModel:
    tokenizer = _tokenizer()
    return kind(
        CLIPTextConfig(
            hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            vocab_size=len(tokenizer), max_position_embeddings=48,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            **options,
        )
    )  # fmt: skip


def _tokenizer(**options: object) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(ALIASES["embedded"] / "tokenizer", **options)


def _stable_diffusion(
    folder: Path, unet: dict, scheduler: object, text: object, tokenizer: object, scaling: float
) -> None:
    StableDiffusionPipeline(
        unet=UNet2DConditionModel(**unet),
        vae=_vae(scaling),
        text_encoder=text,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def _sd15(folder: Path) -> None:
    scheduler = PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False)
    _stable_diffusion(folder, SD15, scheduler, _clip(), _tokenizer(), 0.18215)


def _sd21(folder: Path) -> None:
    """Velocity, linear projections, a head width for each block: Stable Diffusion 2.1, and RoentGen v2 on it."""
    unet = {**SD15, "attention_head_dim": [2, 4, 4, 4], "use_linear_projection": True}
    scheduler = DDIMScheduler(**BETAS, prediction_type="v_prediction", clip_sample=False, steps_offset=1)
    _stable_diffusion(folder, unet, scheduler, _clip(hidden_act="gelu"), _tokenizer(), 0.18215)


def _radedit(folder: Path) -> None:
    """Text by a relative of BERT whose config names code of its own, SDXL's autoencoder, linear betas."""
    words = folder / "words.txt"
    words.parent.mkdir(parents=True, exist_ok=True)
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")]
    words.write_text("\n".join(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters])))
    tokenizer = BertTokenizerFast(str(words), model_max_length=40)
    words.unlink()
    text = BertModel(
        BertConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                   vocab_size=len(tokenizer), max_position_embeddings=40),
        add_pooling_layer=False,
    )  # fmt: skip
    scheduler = DDIMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear", clip_sample=False)
    _stable_diffusion(folder, SD15, scheduler, text, tokenizer, 0.13025)
    path = folder / "text_encoder" / "config.json"
    config = json.loads(path.read_text())
    config |= {
        "model_type": "cxr-bert",
        "architectures": ["CXRBertModel"],
        "auto_map": {"AutoModel": "modeling_cxrbert.CXRBertModel"},
        "projection_size": 16,
    }
    path.write_text(json.dumps(config))
    (folder / "text_encoder" / "modeling_cxrbert.py").write_text("raise SystemExit('remote code was run')\n")


def _sdxl(folder: Path) -> None:
    unet = UNet2DConditionModel(
        block_out_channels=(32, 32, 32), down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
        up_block_types=(*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"), transformer_layers_per_block=[1, 1, 2],
        attention_head_dim=[2, 2, 4], layers_per_block=2, cross_attention_dim=80, norm_num_groups=16, sample_size=8,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=24 + 6 * 8,
        use_linear_projection=True,
    )  # fmt: skip
    StableDiffusionXLPipeline(
        unet=unet,
        vae=_vae(0.13025),
        text_encoder=_clip(),
        text_encoder_2=_clip(CLIPTextModelWithProjection, 48, projection_dim=24, hidden_act="gelu"),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(pad_token="!"),
        scheduler=EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
    ).save_pretrained(folder)


MAKERS = {"sd15": _sd15, "sd21": _sd21, "radedit": _radedit, "sdxl": _sdxl}
