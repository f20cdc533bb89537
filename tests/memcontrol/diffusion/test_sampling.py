"""What is drawn, and the mitigations at inference."""

from __future__ import annotations

import json
import shutil
import warnings

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from memcontrol.diffusion.bases import ALIASES, load_components
from memcontrol.diffusion.prompt_optimization import PromptOptimization
from memcontrol.diffusion.sampling import SAMPLERS, SamplingOptions, _sampler, sample, sample_batches
from memcontrol.errors import PromptError
from memcontrol.seeds import generator

PROMPTS = ["CXR PA, 60M; cardiomegaly", "CXR AP, 30F; no acute finding", "CXR PA, 20F"]
FEW = {"steps": 6, "guidance_scale": 4.0}


@pytest.fixture(scope="module")
def pipeline():
    return load_components("embedded").pipeline()


def draw(pipeline, **options):
    return sample(pipeline, PROMPTS, [1, 2, 3], SamplingOptions(**FEW | options), 64, progress=False)


def test_prompts_are_encoded_as_the_pipeline_does(pipeline):
    ours = draw(pipeline, batch_size=1)[0]

    scheduler = pipeline.scheduler
    pipeline.scheduler = DDIMScheduler.from_config(scheduler.config)
    theirs = pipeline(PROMPTS[0], height=64, width=64, num_inference_steps=6, guidance_scale=4.0,
                      generator=[generator(1, "picture")], output_type="pt").images[0]  # fmt: skip
    pipeline.scheduler = scheduler
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("options", [{"guidance_start": 0.5}, {"prompt_optimization": PromptOptimization(0.1, 3)}])
def test_mitigations_change_the_picture_whatever_the_batch(pipeline, options):
    one, three = draw(pipeline, batch_size=1, **options), draw(pipeline, batch_size=3, **options)
    assert (one - three).abs().max() <= 1 / 255
    assert (one - draw(pipeline)).abs().max() > 0.05


def test_a_walk_without_mitigation_is_the_pipeline(pipeline, monkeypatch):
    plain = draw(pipeline)
    monkeypatch.setattr(SamplingOptions, "is_plain", property(lambda self: False))
    assert (draw(pipeline) - plain).abs().max() < 1e-4


def test_optimisation_lowers_the_norm_at_the_first_step(pipeline):
    from memcontrol.diffusion.probes import Denoiser
    from memcontrol.diffusion.prompt_optimization import optimise
    from memcontrol.diffusion.texts import TextCodec

    codec = TextCodec(pipeline.tokenizer, pipeline.text_encoder)
    states, null = codec.encode(PROMPTS), codec.encode([""])
    denoiser = Denoiser(lambda x, t, c: pipeline.unet(x, t, c).sample, pipeline.scheduler)
    x, t = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((3,), 999)

    def norm(condition):
        with torch.no_grad():
            gap = denoiser.unet(x, t, condition) - denoiser.unet(x, t, null.expand_as(condition))
        return gap.flatten(1).norm(dim=1)

    changed = optimise(denoiser, states, null, x, t, PromptOptimization(target=1e-6, steps=10))
    assert (norm(changed) < norm(states)).all()
    assert torch.equal(optimise(denoiser, states, null, x, t, PromptOptimization(target=1e9)), states)


def test_late_start_draws_the_first_steps_without_the_caption(pipeline):
    options = SamplingOptions(steps=4, guidance_start=0.99, guidance_scale=4.0)
    nearly = next(sample_batches(pipeline, PROMPTS, [1, 2, 3], options, 64, progress=False))
    empty = sample(pipeline, [""] * 3, [1, 2, 3], SamplingOptions(steps=4, guidance_scale=4.0), 64, progress=False)
    assert (nearly - empty).abs().max() < 1e-3


def test_wrong_share_is_refused():
    with pytest.raises(PromptError, match="guidance_start"):
        SamplingOptions(guidance_start=1.0)


def test_a_batch_that_memory_does_not_take_is_halved(pipeline, monkeypatch):
    from memcontrol.diffusion import sampling

    plain, sizes = sampling._sample_plain, []

    def with_room_for_one(parts, states, *rest):
        sizes.append(len(states))
        if len(states) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(parts, states, *rest)

    whole = draw(pipeline)
    monkeypatch.setattr(sampling, "_sample_plain", with_room_for_one)
    assert (draw(pipeline, batch_size=4) - whole).abs().max() <= 1 / 255
    assert sizes == [3, 1, 1, 1]
    draw(pipeline, batch_size=4)
    assert sizes == [3, 1, 1, 1, 1, 1, 1]  # it is not tried again


@pytest.mark.whole
@pytest.mark.parametrize("scheduler", ["EulerAncestralDiscreteScheduler", "DDPMScheduler", "PNDMScheduler"])
def test_seeds_decide_what_a_stochastic_sampler_adds(pipeline, scheduler, monkeypatch):
    late = {"scheduler": scheduler, "guidance_start": 0.5}
    one, three, again = (draw(pipeline, batch_size=size, **late) for size in (1, 3, 3))
    assert torch.equal(three, again)
    assert (one - three).abs().max() <= 1 / 255

    plain = draw(pipeline, scheduler=scheduler)
    monkeypatch.setattr(SamplingOptions, "is_plain", property(lambda self: False))
    assert (draw(pipeline, scheduler=scheduler) - plain).abs().max() < 1e-4


@pytest.mark.parametrize("scheduler", ["DPMSolverSDEScheduler", "CosineDPMSolverMultistepScheduler"])
def test_a_sampler_with_noise_of_its_own_is_refused(scheduler):
    with pytest.raises(PromptError, match="no seed decides"):
        SamplingOptions(scheduler=scheduler)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_nothing_is_refused(batch_size):
    with pytest.raises(PromptError, match=rf"batch_size` must be in \[1, inf\), but got {batch_size}"):
        SamplingOptions(batch_size=batch_size)


def test_another_error_than_memory_is_not_swallowed(pipeline, monkeypatch):
    from memcontrol.diffusion import sampling

    def broken(*args):
        raise RuntimeError("planted")

    monkeypatch.setattr(sampling, "_sample_plain", broken)
    with pytest.raises(RuntimeError, match="planted"):
        draw(pipeline)


CONFIG = json.loads((ALIASES["embedded"] / "scheduler" / "scheduler_config.json").read_text())


def base_lacking(folder, field):
    """Return a base whose scheduler's config lacks a field."""
    shutil.copytree(ALIASES["embedded"], folder)
    lacking = {key: value for key, value in CONFIG.items() if key != field}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(lacking))
    return folder


def plain_pipeline(folder, name, parts):
    """Return the pipeline that diffusers makes of a base with a scheduler."""
    scheduler = getattr(diffusers, name).from_pretrained(folder, subfolder="scheduler")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return StableDiffusionPipeline(
            vae=parts.vae, text_encoder=parts.text_encoder, tokenizer=parts.tokenizer, unet=parts.unet,
            scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip


@pytest.mark.parametrize("field", [None, *(key for key in CONFIG if not key.startswith("_"))])
def test_every_sampler_is_the_one_of_diffusers(tmp_path, field):
    folder = base_lacking(tmp_path / "base", field)
    parts = load_components(str(folder))
    for name in SAMPLERS:
        ours, theirs = _sampler(parts.pipeline(), name), plain_pipeline(folder, name, parts).scheduler
        assert type(ours) is type(theirs)
        found, expected = ({k: c[k] for k in c if not k.startswith("_")} for c in (ours.config, theirs.config))
        assert {key: found[key] for key in expected} == expected, name


@pytest.mark.parametrize("field", ["clip_sample", "steps_offset", "beta_schedule"])
@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler"])
def test_a_base_draws_as_in_plain_diffusers(tmp_path, name, field):
    folder = base_lacking(tmp_path / "base", field)
    parts = load_components(str(folder))
    plain = plain_pipeline(folder, name, parts)
    ours = sample(parts.pipeline(), PROMPTS[:1], [1], SamplingOptions(**FEW, scheduler=name), 64, progress=False)[0]
    theirs = plain(PROMPTS[0], height=64, width=64, num_inference_steps=6, guidance_scale=4.0,
                   generator=[generator(1, "picture")], output_type="pt").images[0]  # fmt: skip
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("scheduler", ["FlowMatchEulerDiscreteScheduler", "DDIMInverseScheduler", "EDMEulerScheduler"])
def test_a_scheduler_that_draws_nothing_here_is_refused(scheduler):
    with pytest.raises(PromptError, match="must be one of"):
        SamplingOptions(scheduler=scheduler)


def test_a_misspelt_scheduler_is_guessed():
    with pytest.raises(PromptError, match="Do you mean 'DDIMScheduler'"):
        SamplingOptions(scheduler="DDIMSchedular")
