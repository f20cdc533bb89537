"""A base in one file, in Stability's layout: the same weights and pictures as its folder's."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from memcontrol.cli import main
from memcontrol.diffusion.bases import build_skeleton, load_components, locate
from memcontrol.diffusion.single_file import folder_of_file
from memcontrol.errors import BaseModelError
from memcontrol.pipeline import load_pipeline
from tests.conf import short_run
from tests.memcontrol.bases import make_base
from tests.memcontrol.original import write_single_file

KINDS = ("sd15", "sd21", "sdxl")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Bases of each kind, and a file of each."""
    found = {}
    for kind in KINDS:
        room = tmp_path_factory.mktemp(kind)
        folder = make_base(kind, room / "base")
        found[kind] = folder, write_single_file(load_components(str(folder)), room / "site.safetensors")
    return found


def laid_out(made, kind, room):
    """Return a base's folder and a copy of its file, with configs and tokenizer beside it."""
    folder, file = made[kind]
    shutil.copytree(folder, room / "site", ignore=shutil.ignore_patterns("*.safetensors", "model_index.json"))
    return folder, shutil.copy(file, room / file.name)


def with_weight(file, name, weight):
    save_file({**load_file(file), f"model.diffusion_model.{name}": weight}, file)


def without(file, part):
    save_file({k: v for k, v in load_file(file).items() if part not in k}, file)


def with_config(folder, name="config.json", **values):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def with_scheduler(beside, **values):
    with_config(beside / "scheduler", "scheduler_config.json", **values)


def parts_of(base):
    parts = load_components(str(base))
    return {name: part for name, part in vars(parts).items() if isinstance(part, torch.nn.Module)}


@pytest.mark.parametrize("kind", ["sd15", pytest.param("sd21", marks=pytest.mark.whole), "sdxl"])
def test_the_weights_are_the_folders(made, tmp_path, kind):
    folder, file = laid_out(made, kind, tmp_path)
    expected, found = parts_of(folder), parts_of(file)
    assert expected.keys() == found.keys()
    for name, part in expected.items():
        weights = part.state_dict()
        assert weights.keys() == found[name].state_dict().keys()
        assert all(torch.equal(weight, found[name].state_dict()[key]) for key, weight in weights.items()), name
    loaded, original = load_components(str(file)), load_components(str(folder))
    assert loaded.tokenizer("PA CXR").input_ids == original.tokenizer("PA CXR").input_ids
    assert loaded.scheduler.config["prediction_type"] == original.scheduler.config["prediction_type"]
    assert [p.shape for p in build_skeleton(str(file)).parameters()] == [p.shape for p in original.unet.parameters()]


def test_it_is_made_once_for_the_owner_alone_and_again_when_the_file_changes(made, tmp_path):
    _, file = laid_out(made, "sd15", tmp_path)
    made = folder_of_file(file)
    assert stat.S_IMODE(made.parents[1].stat().st_mode) == 0o700
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert locate(str(file)) == made
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    weights = load_file(file)
    key = "model.diffusion_model.out.2.bias"
    save_file({**weights, key: weights[key] + 1}, file)
    os.utime(file, ns=(1, 1))
    newer = folder_of_file(file)
    assert newer != made
    assert not made.exists()  # what no file stands for takes no space
    with_scheduler(tmp_path / "site", prediction_type="v_prediction")
    assert load_components(str(file)).scheduler.config["prediction_type"] == "v_prediction"
    assert not newer.exists()
    assert torch.equal(load_components(str(file)).unet.conv_out.bias, weights[key] + 1)


def test_half_precision_stays_so_on_disk(made, tmp_path):
    _, file = laid_out(made, "sd15", tmp_path)
    save_file({k: v.half() if v.is_floating_point() else v for k, v in load_file(file).items()}, file)
    kept = load_file(folder_of_file(file) / "unet" / "diffusion_pytorch_model.safetensors")
    assert {weight.dtype for weight in kept.values()} == {torch.float16}
    assert load_components(str(file)).unet.dtype == torch.float32


def test_parts_keep_their_own_precision(made, tmp_path):
    _, file = laid_out(made, "sd15", tmp_path)
    weights = load_file(file)
    tiny = {k: v.to(torch.float8_e4m3fn) if k.startswith("model.") else v for k, v in weights.items()}
    save_file(tiny, file)
    folder, key = folder_of_file(file), "decoder.conv_in.weight"
    kept = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert {weight.dtype for weight in kept.values()} == {torch.float16}
    autoencoder = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(autoencoder[key], weights[f"first_stage_model.{key}"])


def test_a_cache_that_others_can_write_to_is_refused(made, tmp_path):
    _, file = laid_out(made, "sd15", tmp_path)
    folder_of_file(file)
    (tmp_path / "cache" / "memcontrol" / "bases").chmod(0o777)
    with pytest.raises(BaseModelError, match=r"chmod 700 .*bases"):
        load_components(str(file))


def test_a_skeleton_needs_the_configs_alone(made, tmp_path):
    _, file = laid_out(made, "sd15", tmp_path)
    assert build_skeleton(str(file)).config["cross_attention_dim"] == 32
    assert not (tmp_path / "cache").exists()


def test_a_file_that_is_not_there_is_no_model_of_the_hub():
    with pytest.raises(BaseModelError, match="there is no such file"):
        locate("models/cxr.safetensors", download=False)


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda file, _: file.write_bytes(b"no safetensors"), "cannot be read as safetensors"),
    (lambda file, _: save_file({**load_file(file), "state_dict": torch.ones(1)}, file), None),
    (lambda file, _: with_weight(file, "input_blocks.0.0.weight", torch.ones(4)), "cannot be read as safetensors"),
    (lambda file, _: with_weight(file, "out.2.bias", torch.ones(9)), "does not fit the configs"),
    (lambda file, beside: with_config(beside / "unet", norm_num_groups=0), "does not fit the configs"),
    (lambda file, beside: with_config(beside / "unet", sample_size=8.5), "must be a whole number"),
    (lambda file, beside: with_config(beside / "unet", sample_size=[8, 8, 8]), "must be a whole number"),
    (lambda file, beside: with_config(beside / "unet", sample_size=None), "must be a whole number"),
    (lambda file, beside: with_scheduler(beside, _class_name="EDMEulerScheduler"), "EDM"),
    (lambda file, _: save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, file), "holds no U-Net"),
    (lambda file, beside: shutil.rmtree(beside / "vae"), r"lacks \['vae'\]"),
    (lambda file, beside: shutil.rmtree(beside / "tokenizer"), r"lacks \['tokenizer'\]"),
    (lambda file, _: without(file, ".out.2."), "weights of unet are missing"),
    (lambda file, _: without(file, "text_model.final"), "weights of text_encoder are missing"),
])  # fmt: skip
def test_what_does_not_belong_together_is_refused_and_nothing_is_left(made, tmp_path, spoil, said):
    _, file = laid_out(made, "sd15", tmp_path)
    spoil(file, tmp_path / "site")
    if said is None:
        load_components(str(file))
        return
    with pytest.raises(BaseModelError, match=said):
        load_components(str(file))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_dir() and path.name.startswith("site")]


def test_sizes_of_another_model_are_refused(made, tmp_path):
    _, file = laid_out(made, "sd15", tmp_path)
    path = tmp_path / "site" / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "block_out_channels": [32, 64, 64, 64]}))
    with pytest.raises(BaseModelError, match="does not fit the configs in"):
        load_components(str(file))


def test_without_configs_the_hub_is_asked_for_those_of_its_kind(made, tmp_path, monkeypatch):
    folder, file = made["sd15"]
    (file.parent / "site").mkdir(exist_ok=True)  # of pictures, say
    asked = []

    def hub(model, allow_patterns, local_files_only):
        asked.append((model, local_files_only))
        return str(folder)

    monkeypatch.setattr("memcontrol.diffusion.single_file.snapshot_download", hub)
    lora = tmp_path / "lora.safetensors"
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, lora)
    with pytest.raises(BaseModelError, match="takes it for"):
        load_components(str(lora))
    assert load_components(str(file), online=False).unet.config["cross_attention_dim"] == 32
    assert asked == [("stable-diffusion-v1-5/stable-diffusion-v1-5", True)]


def test_a_hub_that_cannot_be_reached_is_told_with_the_way_out(made, monkeypatch):
    _, file = made["sd15"]

    def hub(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("memcontrol.diffusion.single_file.snapshot_download", hub)
    with pytest.raises(BaseModelError, match=r"no route to host. Put them \(unet/config.json"):
        load_components(str(file))


def test_pickles_are_refused_unread(tmp_path):
    (tmp_path / "old.ckpt").write_bytes(b"")
    with pytest.raises(BaseModelError, match="a pickle"):
        load_components(str(tmp_path / "old.ckpt"))


def test_a_run_on_a_file_is_resumed_and_reloaded_from_elsewhere(made, tmp_path, monkeypatch):
    laid_out(made, "sd15", tmp_path)
    monkeypatch.chdir(tmp_path)
    few = ("--model.base=site.safetensors", "--trainer.max_steps=2", "--trainer.val_check_interval=2")
    main(short_run(tmp_path, *few))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pipe = load_pipeline(tmp_path / "demo" / "version_0")
    assert pipe("PA CXR", num_inference_steps=2, output_type="np").images.shape == (1, 64, 64, 3)
    card = json.loads((tmp_path / "demo" / "version_0" / "adapter" / "memcontrol.json").read_text())
    assert card["base"] == "site.safetensors"  # no path of this machine
