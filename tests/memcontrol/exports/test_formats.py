from __future__ import annotations

import json
from functools import cache

import pytest
import torch
from diffusers import StableDiffusionPipeline
from huggingface_hub import ModelCard
from lycoris.kohya import LycorisNetworkKohya, create_network_from_weights
from peft import LoraConfig, get_peft_model
from safetensors import safe_open

from memcontrol.adapters import DiffFitConfig, SelectiveConfig, SVDiffConfig
from memcontrol.cli.commands.export import export
from memcontrol.diffusion.bases import load_components
from memcontrol.errors import CheckpointError
from memcontrol.files.card import CARD_KEY
from memcontrol.module import MemControlModule
from memcontrol.pipeline import load_pipeline

CASES = {
    "lora": (LoraConfig(r=4, lora_alpha=8), "parts", "all"),
    "lora_ranks": (LoraConfig(r=4, lora_alpha=4, rank_pattern={r"up_blocks\..*": 2}, use_rslora=True), "parts", "all"),
    "lora_mask": (LoraConfig(r=2, lora_alpha=2), "attention", "down_blocks*"),
    "dora": (LoraConfig(r=2, lora_alpha=2, use_dora=True), "attention", "all"),
    "svdiff": (SVDiffConfig(), "paper13", "bits:1110000001111"),
    "svdiff_projections": (SVDiffConfig(target_modules=["to_q", "to_k", "to_v"]), "attention", "all"),
    "difffit": (DiffFitConfig(), "paper13", "all"),
    "full_mask": (SelectiveConfig(tune="full"), "parts", "up_blocks*"),
}
AS_LORA = [name for name in CASES if name not in ("svdiff", "difffit", "full_mask")]
"""Cases that train no norm."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Checkpoints of models whose trained weights were moved enough to be seen in a picture."""
    made = {}

    def make(name):
        if name not in made:
            adapter, slots, mask = CASES[name]
            module = MemControlModule(base="embedded", adapter=adapter, slots=slots, mask=mask)
            module.configure_model()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                with torch.no_grad():
                    for weight in module.adapted.trainable().values():
                        weight.add_(0.05 * weight.abs().mean().clamp_min(0.2) * torch.randn_like(weight))
            run = tmp_path_factory.mktemp(name) / "run"
            (run / "checkpoints").mkdir(parents=True)
            trained = {f"unet.{key}": value for key, value in module.adapted.trainable().items()}
            content = {"state_dict": trained, CARD_KEY: module.card().to_dict()}
            torch.save(content, run / "checkpoints" / "last.ckpt")
            made[name] = run
        return made[name]

    return make


def with_kohya(file):
    """The base with a file, by LyCORIS' own loader."""
    # by default it looks at the time embedding's layers twice, and refuses that
    LycorisNetworkKohya.apply_preset({"unet_target_name": ["conv_in", "conv_out"]})
    pipeline = load_components("embedded").pipeline()
    network, _ = create_network_from_weights(1.0, str(file), None, None, pipeline.unet)
    network.apply_to(None, pipeline.unet, apply_text_encoder=False, apply_unet=True)
    return pipeline, network


def drawn(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    pictures = [
        pipeline(prompt, num_inference_steps=3, generator=torch.Generator().manual_seed(seed), output_type="pt").images
        for seed, prompt in enumerate(["CXR PA, 60M; cardiomegaly", "CXR AP, 20F; no acute finding"])
    ]
    return torch.cat(pictures)


@cache
def base_drawn():
    return drawn(load_components("embedded").pipeline())


def assert_alike(found, expected):
    assert (found - expected).abs().max() <= 1 / 255
    base = base_drawn()
    assert (expected - base).abs().max() > 10 / 255  # else nothing is told apart


@pytest.mark.parametrize("name", [AS_LORA[0], *(pytest.param(name, marks=pytest.mark.whole) for name in AS_LORA[1:])])
def test_load_lora_weights_of_diffusers_draws_as_predict_does(runs, name, tmp_path):
    export(str(runs(name)), tmp_path / "lora", "diffusers")
    pipeline = load_components("embedded").pipeline()
    pipeline.load_lora_weights(tmp_path / "lora")
    assert_alike(drawn(pipeline), drawn(load_pipeline(runs(name))))


@pytest.mark.parametrize("name", sorted(set(CASES) - set(AS_LORA)))
def test_what_no_lora_holds_is_refused_by_name(runs, name, tmp_path):
    with pytest.raises(CheckpointError, match=r"norms were trained, first of all '.*norm.*'.*`pipeline`.*`kohya`"):
        export(str(runs(name)), tmp_path / "lora", "diffusers")


@pytest.mark.parametrize(
    "name", ["lora", *(pytest.param(name, marks=pytest.mark.whole) for name in CASES if name != "lora")]
)
def test_a_loader_of_kohyas_format_draws_as_predict_does(runs, name, tmp_path):
    export(str(runs(name)), tmp_path / "mine", "kohya")
    file = tmp_path / "mine" / "mine.safetensors"
    pipeline, network = with_kohya(file)
    with safe_open(file, "pt") as weights:
        modules = {key.split(".")[0] for key in weights.keys()}  # noqa: SIM118 - no mapping
    assert len(network.unet_loras) == len(modules)
    assert_alike(drawn(pipeline), drawn(load_pipeline(runs(name))))


@pytest.mark.whole
@pytest.mark.parametrize("name", CASES)
def test_a_merged_folder_draws_as_predict_does(runs, name, tmp_path):
    export(str(runs(name)), tmp_path / "merged", "pipeline")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "merged")
    assert_alike(drawn(pipeline), drawn(load_pipeline(runs(name))))


@pytest.mark.whole
@pytest.mark.parametrize(("form", "name"), [("diffusers", "lora"), ("kohya", "lora"), ("kohya", "difffit")])
def test_a_scale_travels_with_it(runs, form, name, tmp_path):
    export(str(runs(name)), tmp_path / "half", form, scale=0.5)
    if form == "diffusers":
        pipeline = load_components("embedded").pipeline()
        pipeline.load_lora_weights(tmp_path / "half")
    else:
        pipeline, _ = with_kohya(tmp_path / "half/half.safetensors")
    found, expected = drawn(pipeline), drawn(load_pipeline(runs(name), scale=0.5))
    assert (found - expected).abs().max() <= 1 / 255
    assert (expected - drawn(load_pipeline(runs(name)))).abs().max() > 5 / 255
    assert "| scale | 0.5 of the way" in (tmp_path / "half/README.md").read_text()


def test_half_precision_is_half_the_size(runs, tmp_path):
    for dtype in ("float32", "float16"):
        export(str(runs("lora")), tmp_path / dtype, "kohya", dtype=dtype)
    sizes = [(tmp_path / dtype / f"{dtype}.safetensors").stat().st_size for dtype in ("float32", "float16")]
    assert sizes[1] < 0.6 * sizes[0]


@pytest.mark.parametrize("form", ["pipeline", "kohya"])
def test_the_card_says_what_it_is_and_opens(runs, form, tmp_path):
    export(str(runs("difffit")), tmp_path / "mine", form)
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert card.data.to_dict()["pipeline_tag"] == "text-to-image"
    assert card.data.to_dict()["library_name"] == "diffusers"
    for said in ("`DIFFFIT`", "13 of 13 slots on", "parameters (", "It was not audited", "| guarantee | none"):
        assert said in card.text, said
    assert "base_model" not in card.data.to_dict()  # it is no model of the hub


def test_the_card_tells_the_audit_of_its_run(runs, tmp_path):
    verdict = {
        "date": "2026-11-30T10:00:00+00:00",
        "version": "0.2.0",
        "step": 0,
        "scale": 1.0,
        "sentence": "LEAK FOUND by 2 of 13 tests.",
        "details": ["Found: membership."],
        "training_patients": 89,
        "heldout_patients": 60,
    }
    (runs("lora") / "verdict.json").write_text(json.dumps(verdict))
    export(str(runs("lora")), tmp_path / "mine", "kohya")
    text = (tmp_path / "mine" / "README.md").read_text()
    assert "**LEAK FOUND by 2 of 13 tests.**" in text
    assert "89 training and 60 held-out patients, step 0." in text
    assert "was not audited" not in text
    export(str(runs("lora")), tmp_path / "half", "kohya", scale=0.5)
    assert "scale 0.5, which was not audited" in (tmp_path / "half" / "README.md").read_text()
    (runs("lora") / "verdict.json").write_text("{}")
    export(str(runs("lora")), tmp_path / "other", "kohya")
    assert "It was not audited." in (tmp_path / "other" / "README.md").read_text()


@pytest.mark.parametrize("options", [{"modules_to_save": ["conv_out"]}, {"bias": "lora_only"}])
def test_a_folder_of_others_that_trains_more_than_its_layers_is_had_whole_or_not(options, tmp_path):
    parts = load_components("embedded")
    model = get_peft_model(parts.unet, LoraConfig(r=2, target_modules=["to_out.0"], **options))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.01)
    model.save_pretrained(tmp_path / "theirs")
    x, t, states = torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 48, 64)
    with torch.no_grad():
        expected = model(x, t, states).sample
        whole = load_pipeline(tmp_path / "theirs", base="embedded").unet(x, t, states).sample
    torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-4)
    for form in ("diffusers", "kohya"):
        with pytest.raises(CheckpointError, match=r"more than its layers .*`--format pipeline`"):
            export(str(tmp_path / "theirs"), tmp_path / form, form, base="embedded")
    with pytest.raises(CheckpointError, match=r"a scale of 0\.5 cannot be had"):
        load_pipeline(tmp_path / "theirs", base="embedded", scale=0.5)
