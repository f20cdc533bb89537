"""Forward and backward of adapted U-Nets against the plain frozen one, whose input needs a gradient.

OMP_NUM_THREADS=1 python benchmarks/step.py [--size sd15|tiny] [--latents 28] [--batch 4] [--runs 5] [--device cpu]

glibc gives the memory of large activations back to the system and asks for it again, whose time falls on one variant or
another by chance; MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736 before the command lets it keep what it has.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from common import SIZES, clock, interleave, make_unet, show
from peft.config import PeftConfig
from torch import nn

from memcontrol.adapters import DiffFitConfig, SelectiveConfig, SVDiffConfig
from memcontrol.adapters.inject import adapt, resolve_mask
from memcontrol.files import worker_cache

VARIANTS: dict[str, tuple[PeftConfig | None, str, str]] = {
    "plain": (None, "paper13", "all"),
    "SVDiff": (SVDiffConfig(), "paper13", "all"),
    "DiffFit": (DiffFitConfig(), "paper13", "all"),
    "attention": (SelectiveConfig(tune="attention"), "paper13", "all"),
    "SVDiff, layout attention, all": (SVDiffConfig(), "attention", "all"),
    "SVDiff, layout attention, last up": (SVDiffConfig(), "attention", "last"),
}
AGAINST = {name: "plain" for name in VARIANTS if name != "plain"} | {
    "SVDiff, layout attention, last up": "SVDiff, layout attention, all"
}


def main() -> None:
    """Print training steps, and forwards without gradient through merged weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="sd15")
    parser.add_argument("--latents", type=int, default=28)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", choices=["training", "merged"])
    options = parser.parse_args()
    worker_cache.enable()
    unet = make_unet(options.size, options.device).to(getattr(torch, options.dtype))
    x = torch.randn(options.batch, 4, options.latents, options.latents).to(unet.device, unet.dtype)
    t = torch.full((options.batch,), 500, device=unet.device)
    states = torch.randn(options.batch, 77, unet.config["cross_attention_dim"]).to(unet.device, unet.dtype)
    inputs = (x, t, states)
    title = f"{options.size}, latents {options.latents}x{options.latents}, batch {options.batch}, {options.dtype}"
    if options.only != "merged":
        steps = {name: _training(unet, name, inputs, options.device) for name in VARIANTS}
        show(f"Forward and backward, {title}", interleave(steps, options.runs), AGAINST, options.device)
    if options.only != "training":
        forwards = {name: _forward(unet, name, inputs, options.device) for name in ("plain", "SVDiff")}
        against = {"SVDiff": "plain"}
        show(f"Merged, without gradient, {title}", interleave(forwards, options.runs), against, options.device)


def _adapt(unet: nn.Module, name: str) -> object:
    config, slots, bits = VARIANTS[name]
    layout, _ = resolve_mask(unet, slots, "all")
    last = next((n for n in reversed(layout.names) if n.startswith("up")), "")
    _, mask = resolve_mask(unet, slots, "all" if bits == "all" else last)
    return adapt(unet, config, layout, mask)


def _training(unet: nn.Module, name: str, inputs: tuple[torch.Tensor, ...], device: str) -> Callable[[], float]:
    def measure() -> float:
        adapted = _adapt(unet, name)
        x, t, states = inputs
        x = x.clone().requires_grad_(name == "plain")
        started = clock(device)
        unet(x, t, states).sample.square().mean().backward()
        spent = clock(device) - started
        adapted.eject()
        unet.zero_grad(set_to_none=True)
        return spent

    return measure


def _forward(unet: nn.Module, name: str, inputs: tuple[torch.Tensor, ...], device: str) -> Callable[[], float]:
    @torch.no_grad()
    def measure() -> float:
        adapted = _adapt(unet, name)
        with adapted.merged():
            unet(*inputs)  # the first forward finds its memory anew; sampling is hundreds of them
            started = clock(device)
            unet(*inputs)
            spent = clock(device) - started
        adapted.eject()
        return spent

    return measure


if __name__ == "__main__":
    main()
