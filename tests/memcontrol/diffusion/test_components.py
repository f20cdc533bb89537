"""Bases that are incomplete, or not ones that can be adapted, are refused with what is wrong."""

from __future__ import annotations

import json
import shutil

import pytest

from memcontrol.diffusion.components import ALIASES, PARTS, build_skeleton, load_components
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
