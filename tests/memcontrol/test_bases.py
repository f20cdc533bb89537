"""Each kind of base trains, resumes, draws as plain diffusers does, and exports; no code of its own is run."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from peft import LoraConfig

from memcontrol.adapters import DiffFitConfig, SelectiveConfig, SVDiffConfig
from memcontrol.adapters.inject import adapt, resolve_mask
from memcontrol.adapters.slots import find_layout
from memcontrol.cli import main
from memcontrol.cli.commands.export import export
from memcontrol.diffusion.bases import build_skeleton, load_components
from memcontrol.diffusion.sampling import SamplingOptions, sample
from memcontrol.diffusion.texts import TextCodec
from memcontrol.errors import BaseModelError, CheckpointError
from memcontrol.files.card import CARD_KEY
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.module import MemControlModule
from memcontrol.pipeline import load_pipeline
from memcontrol.seeds import generator
from tests.conf import short_run
from tests.memcontrol.audit.test_audit import DATA
from tests.memcontrol.audit.test_audit import arguments as audit_arguments
from tests.memcontrol.bases import KINDS, make_base

PROMPTS = ["CXR PA, 60M; cardiomegaly", "CXR AP, 20F; cardiomegaly, no effusion"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {kind: make_base(kind, folder / kind) for kind in KINDS}


def fit(base, folder, steps, *more):
    """Train under a mask of some slots."""
    return main(
        [
            *short_run(folder),
            f"--model.base={base}",
            "--model.slots=parts",
            "--model.mask=up_blocks*",
            "--config=adapter/lora.yaml",
            "--data.transform.size=64",
            f"--trainer.max_steps={steps}",
            "--trainer.val_check_interval=10",
            "--trainer.callbacks.every_n_train_steps=5",
            *more,
        ]
    )


@pytest.fixture(scope="module")
def runs(bases, tmp_path_factory):
    """A run of 20 steps on each kind, made when it is asked for."""
    made = {}

    def make(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            fit(bases[kind], folder, 20)
            made[kind] = folder / "demo" / "version_0"
        return made[kind]

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_draw_is_what_plain_diffusers_draws(bases, kind):
    """Captions, guidance and the U-Net's further inputs, by our path and by the pipeline's own."""
    ours = load_components(str(bases[kind])).pipeline()
    options = SamplingOptions(steps=3, guidance_scale=3.0, scheduler="DDIMScheduler", batch_size=2)
    found = sample(ours, PROMPTS, [0, 1], options, 64, progress=False)
    plain = DiffusionPipeline.from_pretrained(
        bases[kind], **({"text_encoder": ours.text_encoder} if kind == "radedit" else {})
    )
    plain.scheduler = type(ours)(
        **{**ours.components, "scheduler": DDIMScheduler.from_config(plain.scheduler.config)}
    ).scheduler
    plain.set_progress_bar_config(disable=True)
    expected = plain(
        PROMPTS, num_inference_steps=3, guidance_scale=3.0, height=64, width=64,
        generator=[generator(seed, "picture") for seed in (0, 1)], output_type="pt",
    ).images  # fmt: skip
    assert (found - expected).abs().max() <= 1 / 255
    assert "modeling_cxrbert" not in sys.modules


@pytest.mark.parametrize("kind", KINDS)
def test_prediction_by_us_is_the_pipeline_s(bases, kind):
    """Three arguments are all that our code calls a U-Net with."""
    parts = load_components(str(bases[kind]))
    states = TextCodec.of(parts).encode(PROMPTS)
    assert states.shape == (2, *TextCodec.of(parts).record_shape)
    x, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 700])
    with torch.no_grad():
        found = parts.unet(x, t, states).sample
        other = parts.unet(x, t, states.flip(0)).sample
    assert found.shape == x.shape
    assert not torch.equal(found, other)
    if kind == "sdxl":
        changed = states.clone()
        changed[:, -1] += 1  # the pooled embedding matters too
        with torch.no_grad():
            assert not torch.equal(parts.unet(x, t, changed).sample, found)


@pytest.mark.whole
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(bases, runs, kind, tmp_path):
    fit(bases[kind], tmp_path, 10)
    fit(bases[kind], tmp_path, 20, f"--ckpt_path={tmp_path / 'demo' / 'version_0'}")
    _, expected = read_checkpoint(find_checkpoint(runs(kind)))
    _, found = read_checkpoint(find_checkpoint(tmp_path / "demo" / "version_0"))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.whole
@pytest.mark.parametrize("kind", KINDS)
def test_formats_draw_as_the_run_does(bases, runs, kind, tmp_path):
    pipeline = load_pipeline(runs(kind))
    options = SamplingOptions(steps=3, guidance_scale=3.0, batch_size=2)
    expected = sample(pipeline, PROMPTS, [0, 1], options, 64, progress=False)
    untouched = load_components(str(bases[kind])).pipeline()
    assert (sample(untouched, PROMPTS, [0, 1], options, 64, progress=False) - expected).abs().max() > 1e-3
    export(str(runs(kind)), tmp_path / "merged", "pipeline")
    merged = load_components(str(tmp_path / "merged")).pipeline()
    assert (sample(merged, PROMPTS, [0, 1], options, 64, progress=False) - expected).abs().max() <= 1 / 255
    export(str(runs(kind)), tmp_path / "lora", "diffusers")
    untouched.load_lora_weights(tmp_path / "lora")
    assert (sample(untouched, PROMPTS, [0, 1], options, 64, progress=False) - expected).abs().max() <= 1 / 255


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", [LoraConfig(r=2), SVDiffConfig(), DiffFitConfig(), SelectiveConfig(tune="full")])
def test_trained_parameters_are_those_that_the_layout_names(bases, kind, config):
    for layout in ("parts", "attention", "all"):
        unet = build_skeleton(str(bases[kind]))
        layout, mask = resolve_mask(unet, layout, "all")
        adapted = adapt(unet, config, layout, mask)
        count = sum(p.numel() for p in adapted.trainable().values())
        assert count > 0
        if isinstance(config, SelectiveConfig) and layout.name == "parts":
            inside = [
                n for n, _ in build_skeleton(str(bases[kind])).named_parameters() if layout.slot_of(n.rsplit(".", 1)[0])
            ]
            plain = dict(build_skeleton(str(bases[kind])).named_parameters())
            assert count == sum(plain[name].numel() for name in inside)


def test_the_layouts_of_stable_diffusion_xl_cover_its_weights(tmp_path):
    """On the meta device, with the published sizes."""
    folder = tmp_path / "xl" / "unet"
    folder.mkdir(parents=True)
    config = {
        "_class_name": "UNet2DConditionModel", "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], "sample_size": 128,
        "layers_per_block": 2, "transformer_layers_per_block": [1, 2, 10],
        "projection_class_embeddings_input_dim": 2816,
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "use_linear_projection": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    unet = build_skeleton(str(tmp_path / "xl"))
    assert sum(p.numel() for p in unet.parameters()) == 2_567_463_684
    layout = find_layout(unet, "all")
    assert {name for name, _ in unet.named_modules() if layout.slot_of(name)}


def test_parts_that_are_missing_or_strange_are_named(bases, tmp_path):
    shutil.copytree(bases["sdxl"], tmp_path / "xl")
    shutil.rmtree(tmp_path / "xl" / "text_encoder_2")
    with pytest.raises(BaseModelError, match=r"lacks \['text_encoder_2'\]"):
        load_components(str(tmp_path / "xl"))
    shutil.copytree(bases["radedit"], tmp_path / "t5")
    path = tmp_path / "t5" / "text_encoder" / "config.json"
    path.write_text(path.read_text().replace("cxr-bert", "t5").replace("CXRBertModel", "T5EncoderModel"))
    with pytest.raises(BaseModelError, match="must be CLIP's text model or BERT"):
        load_components(str(tmp_path / "t5"))
    (tmp_path / "one.safetensors").write_bytes(b"")
    with pytest.raises(BaseModelError, match="cannot be read as safetensors"):
        load_components(str(tmp_path / "one.safetensors"))


ADAPTERS = {
    "LoRA": LoraConfig(r=2),
    "SVDiff": SVDiffConfig(),
    "DiffFit": DiffFitConfig(),
    "full": SelectiveConfig(tune="full"),
}
NAMES = {
    "sd15": "Stable Diffusion 1.x: CLIP, noise",
    "sd21": "Stable Diffusion 2.x, RoentGen v2: OpenCLIP, velocity",
    "radedit": "RadEdit: BERT, linear betas, SDXL's autoencoder",
    "sdxl": "Stable Diffusion XL: two CLIPs, sizes",
}


def changed(base, adapter, folder):
    """Write a checkpoint of a model whose trained weights were moved."""
    module = MemControlModule(base=str(base), adapter=adapter, slots="parts", mask="up_blocks*")
    module.configure_model()
    with torch.no_grad():
        for weight in module.adapted.trainable().values():
            weight.add_(0.01)
    (folder / "checkpoints").mkdir(parents=True)
    trained = {f"unet.{name}": value for name, value in module.adapted.trainable().items()}
    torch.save({"state_dict": trained, CARD_KEY: module.card().to_dict()}, folder / "checkpoints" / "last.ckpt")
    return folder


def formats_of(run, folder):
    """Return the formats in which a run can be exported."""
    found = []
    for form in ("pipeline", "kohya", "diffusers"):
        with contextlib.suppress(CheckpointError):
            export(str(run), folder / form, form)
            found.append(form)
    return found


@pytest.mark.whole
def test_the_table_of_what_works_with_what_is_what_works(bases, tmp_path):
    rows = []
    for kind in KINDS:
        cells = []
        for name, adapter in ADAPTERS.items():
            run = changed(bases[kind], adapter, tmp_path / kind / name / "run")
            assert load_pipeline(run).unet is not None
            cells.append(", ".join(formats_of(run, tmp_path / kind / name)))
        rows.append([NAMES[kind], *cells])
    head = ["base", *ADAPTERS]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    told = (Path(__file__).parents[2] / "docs" / "BASES.md").read_text()
    assert "\n".join(lines) in told, "\n".join(lines)


@pytest.mark.whole
@pytest.mark.parametrize("kind", KINDS)
def test_each_base_is_audited_and_its_card_tells_it(bases, kind, tmp_path):
    fit(bases[kind], tmp_path, 4, *DATA)
    run = tmp_path / "demo" / "version_0"
    main([*audit_arguments(tmp_path, run), "--data.transform.size=64"])
    verdict = json.loads((run / "verdict.json").read_text())
    (audited,) = json.loads((tmp_path / "audit/audit.json").read_text())["audited"]
    assert verdict["sentence"] == audited["verdict"]["sentence"]
    assert verdict["sentence"] in (run / "adapter" / "README.md").read_text()
