"""Bases that are incomplete, or not ones that can be adapted, are refused with what is wrong."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from huggingface_hub.utils import filter_repo_objects

from memcontrol.diffusion.bases import ALIASES, build_skeleton, load_components, locate
from memcontrol.diffusion.layout import PARTS
from memcontrol.errors import BaseModelError


@pytest.fixture
def folder(tmp_path):
    """The embedded base's configs, without weights."""
    for part, file in PARTS.items():
        (tmp_path / part).mkdir()
        shutil.copy(ALIASES["embedded"] / part / file, tmp_path / part)
    shutil.copy(ALIASES["embedded"] / "tokenizer" / "tokenizer.json", tmp_path / "tokenizer")
    return tmp_path


def change(folder, part, **values):
    path = folder / part / PARTS[part]
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refusal(folder, random_init=True):
    with pytest.raises(BaseModelError) as error:
        load_components(str(folder), random_init)
    return str(error.value)


def test_configs_alone_do_for_random_weights(folder):
    change(folder, "scheduler", prediction_type="v_prediction")
    shutil.rmtree(folder / "tokenizer")
    parts = load_components(str(folder), random_init=True)
    assert parts.scheduler.config["prediction_type"] == "v_prediction"
    assert not parts.vae.training
    assert not any(p.requires_grad for p in [*parts.vae.parameters(), *parts.text_encoder.parameters()])


def test_no_folder(tmp_path):
    assert "which is no folder. Allowed are `embedded`" in refusal(tmp_path / "nowhere")


def test_parts_that_lack(folder):
    shutil.rmtree(folder / "vae")
    shutil.rmtree(folder / "tokenizer")
    assert "lacks ['vae'] in" in refusal(folder)
    assert "lacks ['vae', 'tokenizer'] in" in refusal(folder, random_init=False)


def test_no_weights(folder):
    assert "has no weights (unet/*.safetensors)" in refusal(folder, random_init=False)


def test_damaged_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"torn")
    assert "could not be loaded: " in refusal(folder, random_init=False)


def test_unet_without_attentions(folder):
    blocks = {"down_block_types": ["DownBlock2D"] * 4, "up_block_types": ["UpBlock2D"] * 4}
    change(folder, "unet", **blocks)
    assert "has no attentions (['DownBlock2D'" in refusal(folder)
    with pytest.raises(BaseModelError, match="has no attentions"):
        build_skeleton(str(folder))


def test_unet_of_another_class(folder):
    change(folder, "unet", _class_name="UNet2DModel")
    assert "has a UNet2DModel, but memcontrol adapts UNet2DConditionModel" in refusal(folder)


def test_vae_of_another_class(folder):
    change(folder, "vae", _class_name="VQModel")
    assert "must be AutoencoderKL or AutoencoderTiny, but got VQModel" in refusal(folder)


def test_scheduler_with_another_prediction(folder):
    change(folder, "scheduler", prediction_type="sample")
    assert "must be epsilon or v_prediction, but got 'sample'" in refusal(folder)


def test_skeleton_without_a_unet(folder):
    shutil.rmtree(folder / "unet")
    with pytest.raises(BaseModelError, match=r"has no unet/config\.json"):
        build_skeleton(str(folder))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"addition_embed_type": "text_time", "addition_time_embed_dim": 256},
            "lacks ['text_encoder_2']",
        ),
        ({"in_channels": 9}, "inpainting models, a mask and the masked picture"),
        ({"in_channels": 8, "out_channels": 4}, "takes 8 channels and gives 4"),
        ({"in_channels": 16, "out_channels": 16}, "takes 16 channels, but the auto-encoder gives 4"),
        ({"class_embed_type": "projection"}, "needs class labels"),
        ({"num_class_embeds": 10}, "needs class labels"),
        ({"time_cond_proj_dim": 256}, "latent consistency models"),
        ({"encoder_hid_dim_type": "ip_image_proj"}, "needs embeddings of images"),
        ({"cross_attention_dim": 2048}, "text states of width 2048, but the text encoder gives"),
    ],
)
def test_what_cannot_run_is_refused_when_it_is_named(folder, values, said):
    """Inpainting U-Nets loaded, and failed in the first step."""
    change(folder, "unet", **values)
    text = refusal(folder)
    assert said in text
    assert "What can be run is Stable Diffusion 1.x, 2.x and XL" in text or "lacks" in text


def test_only_what_is_loaded_is_fetched(monkeypatch, tmp_path):
    """A repository with every kind of file that Stable Diffusion 1.5's has."""
    parts = {
        "unet": "diffusion_pytorch_model",
        "vae": "diffusion_pytorch_model",
        "text_encoder": "model",
        "safety_checker": "model",
    }
    words = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
    files = [
        *("README.md", "model_index.json", "v1-inference.yaml", "v1-5-pruned.ckpt", "v1-5-pruned-emaonly.safetensors"),
        *("feature_extractor/preprocessor_config.json", "scheduler/scheduler_config.json"),
        *(f"tokenizer/{name}" for name in words),
        *(f"{part}/config.json" for part in parts),
        *(f"{p}/{n}{v}.{s}" for p, n in parts.items() for v in ("", ".fp16") for s in ("bin", "safetensors")),
        *(f"unet/diffusion_pytorch_model.non_ema.{suffix}" for suffix in ("bin", "safetensors")),
    ]
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.6.0",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    hub = "diffusers.pipelines.pipeline_utils"
    siblings = [SimpleNamespace(rfilename=name) for name in files]
    monkeypatch.setattr(f"{hub}.model_info", lambda *a, **k: SimpleNamespace(siblings=siblings, sha="0"))
    monkeypatch.setattr(f"{hub}.hf_hub_download", lambda *a, **k: str(tmp_path / "model_index.json"))
    fetched = []

    def fetch(*args, allow_patterns, ignore_patterns, **kwargs):
        fetched.extend(filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns))
        return str(tmp_path)

    monkeypatch.setattr(f"{hub}.snapshot_download", fetch)
    assert locate("someone/stable-diffusion") == tmp_path
    weights = {name for name in fetched if name.endswith((".bin", ".safetensors", ".ckpt"))}
    assert weights == {f"{part}/{parts[part]}.safetensors" for part in ("unet", "vae", "text_encoder")}
    assert not [name for name in fetched if name.startswith(("safety_checker", "feature_extractor"))]
