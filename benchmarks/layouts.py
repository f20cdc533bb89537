"""Do channels-last memory and torch.compile pay? Plain steps and forwards of the same U-Net, in the same run.

OMP_NUM_THREADS=1 python benchmarks/layouts.py [--size sd15|tiny] [--latents 8] [--batch 16] [--runs 5] [--device cpu]
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import torch
from common import SIZES, clock, interleave, make_unet, show
from torch import nn

from memcontrol.adapters import SVDiffConfig
from memcontrol.adapters.inject import adapt, resolve_mask


def main() -> None:
    """Print forwards without gradient (sampling) and steps of SVDiff under each layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--latents", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    unet = make_unet(options.size, options.device)
    variants = {
        "contiguous": unet,
        "channels last": copy.deepcopy(unet).to(memory_format=torch.channels_last),
    }
    x = torch.randn(options.batch, 4, options.latents, options.latents, device=options.device)
    t = torch.full((options.batch,), 500, device=options.device)
    states = torch.randn(options.batch, 77, unet.config["cross_attention_dim"], device=options.device)
    inputs = (x, t, states)
    against = {"channels last": "contiguous", "compiled": "contiguous"}
    title = f"{options.size}, latents {options.latents}x{options.latents}, batch {options.batch}"
    forwards = {name: _forward(model, inputs, options.device) for name, model in variants.items()}
    forwards["compiled"] = _forward(torch.compile(unet), inputs, options.device)
    print(f"compiling the forward takes {forwards['compiled']():.0f} s, once per process and shape")
    show(f"Forward without gradient, {title}", interleave(forwards, options.runs), against, options.device)
    layout, mask = resolve_mask(unet, "paper13", "all")
    for model in variants.values():
        adapt(model, SVDiffConfig(), layout, mask)
    steps = {name: _step(model, inputs, options.device) for name, model in variants.items()}
    show(f"SVDiff forward and backward, {title}", interleave(steps, options.runs), against, options.device)


def _forward(unet: nn.Module, inputs: tuple[torch.Tensor, ...], device: str) -> Callable[[], float]:
    @torch.no_grad()
    def measure() -> float:
        started = clock(device)
        unet(*inputs)
        return clock(device) - started

    return measure


def _step(unet: nn.Module, inputs: tuple[torch.Tensor, ...], device: str) -> Callable[[], float]:
    def measure() -> float:
        started = clock(device)
        unet(*inputs).sample.square().mean().backward()
        spent = clock(device) - started
        unet.zero_grad(set_to_none=True)
        return spent

    return measure


if __name__ == "__main__":
    main()
