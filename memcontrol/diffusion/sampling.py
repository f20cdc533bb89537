"""Prompts and seeds to images: the same image for the same prompt and seed, whatever the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers import SchedulerMixin, StableDiffusionPipeline
from torch import Tensor
from tqdm import tqdm

from memcontrol.diffusion.codecs import TextCodec
from memcontrol.errors import PromptError
from memcontrol.seeds import generator

__all__ = ["SamplingOptions", "sample", "sample_batches", "scheduler_named"]


@dataclass(frozen=True)
class SamplingOptions:
    """How images are drawn.

    Args:
        steps: Sampler steps.
        guidance_scale: Strength of classifier-free guidance; 1 is none.
        scheduler: Name of any scheduler class of diffusers.
        batch_size: Images drawn at once.

    Raises:
        PromptError: If a number is out of range or diffusers has no such scheduler.
    """

    steps: int = 50
    guidance_scale: float = 4.0
    scheduler: str = "DDIMScheduler"
    batch_size: int = 16

    def __post_init__(self) -> None:
        """Check ranges and name."""
        if self.steps < 1 or self.batch_size < 1 or self.guidance_scale < 0:
            raise PromptError(
                "Arguments `sampling.steps` >= 1, `sampling.batch_size` >= 1 and `sampling.guidance_scale` >= 0 "
                f"are needed, but got {self.steps}, {self.batch_size} and {self.guidance_scale}."
            )
        scheduler_named(self.scheduler)


def scheduler_named(name: str) -> type[Any]:
    """Return a scheduler class of diffusers.

    Raises:
        PromptError: If there is none of that name.
    """
    found = getattr(diffusers, name, None)
    if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
        known = sorted(n for n in dir(diffusers) if n.endswith("Scheduler") and "Flax" not in n)
        raise PromptError(f"Argument `sampling.scheduler` must be one of {known}, but got {name!r}.")
    return found


def sample(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: SamplingOptions,
    size: int,
    progress: bool = True,
) -> Tensor:
    """Draw one image per prompt.

    Args:
        pipeline: The parts to draw with; it is left as it was.
        prompts: Captions.
        seeds: One seed per prompt; it alone decides the noise.
        options: Steps, guidance, scheduler.
        size: Height and width, in pixels.
        progress: Whether to show a bar.

    Returns:
        Images with shape `(B, 3, size, size)`, values in [0, 1], single precision, on the CPU.
    """
    return torch.cat(list(sample_batches(pipeline, prompts, seeds, options, size, progress)))


@torch.no_grad()
def sample_batches(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: SamplingOptions,
    size: int,
    progress: bool = True,
) -> Iterator[Tensor]:
    """Draw images batch by batch: see `sample`."""
    if len(prompts) != len(seeds):
        raise PromptError(f"There must be one seed per prompt, but got {len(prompts)} and {len(seeds)}.")
    trained_with = pipeline.scheduler
    pipeline.scheduler = scheduler_named(options.scheduler).from_config(trained_with.config)
    pipeline.set_progress_bar_config(disable=True)
    texts = TextCodec(pipeline.tokenizer, pipeline.text_encoder)
    null = texts.encode([""])
    starts = range(0, len(prompts), options.batch_size)
    try:
        for start in tqdm(starts, desc="drawing", unit="batch", disable=not progress, delay=2):
            chosen = slice(start, start + options.batch_size)
            output = pipeline(
                prompt_embeds=texts.encode(list(prompts[chosen])),
                negative_prompt_embeds=null.expand(len(prompts[chosen]), -1, -1),
                height=size,
                width=size,
                num_inference_steps=options.steps,
                guidance_scale=options.guidance_scale,
                generator=[generator(seed, "picture") for seed in seeds[chosen]],
                output_type="pt",
            )
            yield output.images.float().cpu()
    finally:
        pipeline.scheduler = trained_with
