"""Prompts and seeds to images: the same image for the same prompt and seed, whatever the batch."""

from __future__ import annotations

import difflib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from inspect import signature
from typing import Any, Final
from weakref import WeakKeyDictionary

import diffusers
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from diffusers.schedulers import KarrasDiffusionSchedulers
from torch import Tensor, nn
from tqdm import tqdm

from memcontrol.diffusion.components import Pipeline, is_xl
from memcontrol.diffusion.conditions import split_packed
from memcontrol.diffusion.probes import Denoiser
from memcontrol.diffusion.prompt_optimization import PromptOptimization
from memcontrol.diffusion.sampling_mitigations import LateGuidance, SamplingMitigation
from memcontrol.diffusion.texts import TextCodec
from memcontrol.diffusion.trajectory import walk
from memcontrol.errors import DivergedError, PromptError
from memcontrol.ranges import check_ranges
from memcontrol.seeds import generator, normal_like_seeds
from memcontrol.sizes import Size, height_and_width

__all__ = ["SamplingOptions", "draw_latents", "sample", "sample_batches", "scheduler_named"]

log = logging.getLogger(__name__)

UNSEEDED: Final = ("CosineDPMSolverMultistepScheduler", "DPMSolverSDEScheduler", "KarrasVeScheduler")
"""They add noise of their own."""
FURTHER: Final = ("DDIMParallelScheduler", "DDPMParallelScheduler", "LCMScheduler", "SASolverScheduler", "TCDScheduler")


def _samplers() -> tuple[str, ...]:
    """Return the schedulers that draw with a Stable Diffusion: its pipeline's and a few more, which know of betas."""
    names = sorted({scheduler.name for scheduler in KarrasDiffusionSchedulers} | set(FURTHER))
    takes = {name: signature(getattr(diffusers, name).__init__).parameters for name in names}
    return tuple(n for n in names if n not in UNSEEDED and {"beta_schedule", "prediction_type"} <= set(takes[n]))


SAMPLERS: Final = _samplers()

SAMPLER: Final = ("steps", "guidance_scale", "scheduler", "batch_size")
"""Options of the sampler itself; all others change what a model gives, and belong to the model."""

_room: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # what memory took, so that it is found out once


@dataclass(frozen=True)
class SamplingOptions:
    """How images are drawn.

    Args:
        steps: Sampler steps.
        guidance_scale: Strength of classifier-free guidance; 1 and less is none, as in diffusers.
        scheduler: Name of a scheduler class of diffusers that takes its noise from our seeds.
        batch_size: Images drawn at once, at least 1; by default 16 on a CPU and 128 elsewhere. Where memory does not
            suffice it is halved, and the images stay the same.
        guidance_start: Share of the steps that is drawn without the caption, in [0, 1): a late start of guidance
            keeps the path out of what is known by heart (Jain et al., CVPR 2025).
        prompt_optimization: Changes the embeddings of prompts that the model knows by heart (Wen et al., ICLR 2024).
        mitigations: Further ones, by class path.

    Raises:
        PromptError: If a number is out of range, or the scheduler cannot be used.
    """

    steps: int = 50
    guidance_scale: float = 4.0
    scheduler: str = "DDIMScheduler"
    batch_size: int | None = None
    guidance_start: float = 0.0
    prompt_optimization: PromptOptimization | None = None
    mitigations: list[SamplingMitigation] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check ranges and name."""
        ranges = {"steps": "[1, 1000]", "batch_size": "[1, inf)", "guidance_scale": "[0, inf)"}
        check_ranges(PromptError, "sampling", self, ranges)
        LateGuidance(self.guidance_start)
        scheduler_named(self.scheduler)

    def images_at_once(self, device: torch.device) -> int:
        """Return the batch size to begin with."""
        return self.batch_size or (16 if device.type == "cpu" else 128)

    @property
    def is_plain(self) -> bool:
        """Whether a pipeline of diffusers draws like this by itself."""
        return not self.all_mitigations

    @property
    def all_mitigations(self) -> list[SamplingMitigation]:
        """What is changed while sampling, in the order in which it is applied."""
        late = [LateGuidance(self.guidance_start)] if self.guidance_start else []
        return [*late, *([self.prompt_optimization] if self.prompt_optimization else []), *self.mitigations]

    def with_sampler_of(self, other: SamplingOptions) -> SamplingOptions:
        """Return these options with another's sampler; all that is no option of the sampler stays as it is.

        Args:
            other: Options of which the sampler is taken, and whatever else differs from the defaults.
        """
        defaults = SamplingOptions()
        names = [f.name for f in fields(other)]
        taken = [n for n in names if n in SAMPLER or getattr(other, n) != getattr(defaults, n)]
        return replace(self, **{name: getattr(other, name) for name in taken})


def scheduler_named(name: str) -> type[Any]:
    """Return a scheduler class of diffusers.

    Raises:
        PromptError: If there is none of that name, or seeds would not decide what it draws.
    """
    if name in UNSEEDED:
        raise PromptError(
            f"Argument `sampling.scheduler` is {name!r}, which adds noise that no seed decides: the same prompt and "
            "seed would give other images in each run. Give `EulerAncestralDiscreteScheduler` or another one."
        )
    if name not in SAMPLERS:
        near = difflib.get_close_matches(name, SAMPLERS, 1)
        guess = f" Do you mean {near[0]!r}?" if near else ""
        raise PromptError(f"Argument `sampling.scheduler` must be one of {list(SAMPLERS)}, but got {name!r}.{guess}")
    found: type[Any] = getattr(diffusers, name)
    return found


def _sampler(pipeline: Pipeline, name: str) -> Any:
    """Return a scheduler as a pipeline of diffusers has it that is made with it.

    Fields that the base's config lacks have that scheduler's own defaults; then the pipeline changes what does not fit
    latents (it never clips them), and so do we, by its own code.
    """
    scheduler = scheduler_named(name).from_config(pipeline.scheduler.config)
    parts = {**pipeline.components, "scheduler": scheduler}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        options = {} if is_xl(pipeline) else {"requires_safety_checker": False}
        return type(pipeline)(**parts, **options).scheduler


def sample(
    pipeline: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: SamplingOptions,
    size: Size,
    progress: bool = True,
) -> Tensor:
    """Draw one image per prompt.

    Args:
        pipeline: The parts to draw with; it is left as it was.
        prompts: Captions.
        seeds: One seed per prompt; it alone decides the noise.
        options: Steps, guidance, scheduler.
        size: Height and width, in pixels; one number for a square.
        progress: Whether to show a bar.

    Returns:
        Images with shape `(B, 3, height, width)`, values in [0, 1], single precision, on the CPU.
    """
    return torch.cat(list(sample_batches(pipeline, prompts, seeds, options, size, progress)))


def draw_latents(
    pipeline: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: SamplingOptions,
    size: Size,
    progress: bool = True,
) -> Tensor:
    """Draw one latent per prompt, as the U-Net sees it, with shape `(B, C, h, w)` on the CPU: see `sample`."""
    return torch.cat(list(sample_batches(pipeline, prompts, seeds, options, size, progress, decode=False)))


@torch.no_grad()
def sample_batches(
    pipeline: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: SamplingOptions,
    size: Size,
    progress: bool = True,
    decode: bool = True,
) -> Iterator[Tensor]:
    """Draw images, or latents, batch by batch: see `sample` and `draw_latents`."""
    if len(prompts) != len(seeds):
        raise PromptError(f"There must be one seed per prompt, but got {len(prompts)} and {len(seeds)}.")
    trained_with = pipeline.scheduler
    pipeline.scheduler = _sampler(pipeline, options.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    texts = TextCodec.of(pipeline)
    null = texts.null()
    sample_batch = _sample_plain if options.is_plain else _sample_mitigated
    at_once = min(options.images_at_once(pipeline.device), _room.get(pipeline.unet, sys.maxsize))
    start = 0
    bar = tqdm(total=len(prompts), desc="drawing", unit="image", disable=not progress, delay=2)
    try:
        while start < len(prompts):
            chosen = slice(start, start + at_once)
            states = texts.encode(list(prompts[chosen]))
            images = None
            try:
                images = sample_batch(pipeline, states, null, list(seeds[chosen]), options, size, decode).float().cpu()
            except RuntimeError as error:
                if len(states) == 1 or not should_reduce_batch_size(error):
                    raise
            if images is None:  # outside of the handler, whose error holds on to what was allocated
                clear_device_cache(garbage_collection=True)
                at_once = _room[pipeline.unet] = len(states) // 2
                log.warning("Memory does not take %d images at once; drawing %d.", len(states), at_once)
                continue
            if not bool(images.isfinite().all()):
                raise DivergedError(
                    f"{int((~images.isfinite()).flatten(1).any(dim=1).sum())} of {len(images)} drawn pictures hold "
                    "values that are no finite numbers. The model's training may have diverged, or its precision be "
                    "too low. Take an earlier checkpoint."
                )
            yield images
            bar.update(len(images))
            start += len(images)
    finally:
        bar.close()
        pipeline.scheduler = trained_with


def _sample_plain(
    pipeline: Pipeline,
    states: Tensor,
    null: Tensor,
    seeds: list[int],
    options: SamplingOptions,
    size: Size,
    decode: bool,
) -> Tensor:
    null = null.expand(len(states), -1, -1)
    embeds = {"prompt_embeds": states, "negative_prompt_embeds": null}
    if is_xl(pipeline):
        (given, pooled), (without, pooled_without) = (split_packed(pipeline.unet, each) for each in (states, null))
        embeds = {"prompt_embeds": given, "negative_prompt_embeds": without}
        embeds |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": pooled_without}
    height, width = height_and_width(size)
    output = pipeline(
        **embeds,
        height=height,
        width=width,
        num_inference_steps=options.steps,
        guidance_scale=options.guidance_scale,
        generator=[generator(seed, "picture") for seed in seeds],
        output_type="pt" if decode else "latent",
    )
    images: Tensor = output.images
    return images


def _sample_mitigated(
    pipeline: Pipeline,
    states: Tensor,
    null: Tensor,
    seeds: list[int],
    options: SamplingOptions,
    size: Size,
    decode: bool,
) -> Tensor:
    unet, scheduler = pipeline.unet, pipeline.scheduler
    denoiser = Denoiser(lambda x, t, condition: unet(x, t, condition).sample, scheduler)
    shape = (unet.config.in_channels, *(side // pipeline.vae_scale_factor for side in height_and_width(size)))
    states, null = states.to(unet.dtype), null.to(unet.dtype)
    scheduler.set_timesteps(options.steps, device=states.device)
    noise = normal_like_seeds(seeds, shape, "picture").to(states) * scheduler.init_noise_sigma
    first = scheduler.timesteps[0]
    seen = scheduler.scale_model_input(noise, first)
    for mitigation in options.all_mitigations:
        states = mitigation.states(denoiser, states, null, seen, first.expand(len(seen)))
    strength = max(1.0, options.guidance_scale)
    *_, last = walk(denoiser, scheduler, states, null, seeds, shape, options.steps, strength, options.all_mitigations)
    if not decode:
        return last.latents
    decoded = pipeline.vae.decode(last.latents / pipeline.vae.config.scaling_factor).sample
    images: Tensor = (decoded / 2 + 0.5).clamp(0, 1)
    return images
