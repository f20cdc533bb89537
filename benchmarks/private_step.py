"""What a private step costs beside one without a bound: seconds of CPU and peak memory, each in a process of its own.

    python benchmarks/private_step.py --size sd15 --latents 16 --batch 16

The batch is so many patients with one sample each. Without a bound, all are one batch; with one, `--microbatch`
patients at a time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

METHODS = ("svdiff", "lora", "attention")


def unet_of(size: str, latents: int) -> Any:
    """Return a U-Net of Stable Diffusion 1.5's size, or a small one of its layout, with random weights."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    blocks = (320, 640, 1280, 1280) if size == "sd15" else (64, 128, 128, 128)
    return UNet2DConditionModel(sample_size=latents, cross_attention_dim=768, block_out_channels=blocks)


def measure(method: str, private: bool, options: argparse.Namespace) -> dict[str, float]:
    """Return seconds of CPU of a step, and peak memory in GiB."""
    import torch
    from peft import LoraConfig

    from memcontrol.adapters import SelectiveConfig, SVDiffConfig, adapt, resolve_mask
    from memcontrol.privacy.clipping import clipped_sums

    torch.set_num_threads(options.threads)
    config = {
        "svdiff": SVDiffConfig,
        "lora": lambda: LoraConfig(r=4, lora_alpha=4),
        "attention": lambda: SelectiveConfig(tune="attention"),
    }[method]()
    unet = unet_of(options.size, options.latents)
    layout, mask = resolve_mask(unet, "attention", "all")
    trained = adapt(unet, config, layout, mask).trainable()
    n, side = options.batch, options.latents
    x, target = torch.randn(n, 4, side, side), torch.randn(n, 4, side, side)
    t, states = torch.randint(0, 1000, (n,)), torch.randn(n, 77, 768)

    def losses(start: int, stop: int) -> Any:
        s = slice(start, stop)
        return (unet(x[s], t[s], states[s]).sample - target[s]).square().flatten(1).mean(dim=1)

    def step() -> None:
        if private:
            clipped_sums(unet, trained, losses, n, 1.0, options.microbatch)
        else:
            torch.autograd.grad(losses(0, n).mean(), list(trained.values()), allow_unused=True)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    took = []
    for _ in range(options.repeats):
        start = time.process_time()
        step()
        took.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": min(took), "peak": peak / 2**20, "step": (peak - before) / 2**20}


def main() -> None:
    """Measure each method with and without a bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["sd15", "small"], default="small")
    parser.add_argument("--latents", type=int, default=16, help="height and width of latents (64 for 512 pixels)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--microbatch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "PRIVATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], options.one[1] == "1", options)))
        return
    print("| method | s without | s private | ratio | peak GiB without | private | ratio |")
    print("| --- " * 7 + "|")
    for method in options.methods:
        found = []
        for private in ("0", "1"):
            command = [sys.executable, __file__, *sys.argv[1:], "--one", method, private]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        plain, bound = found
        ratios = bound["seconds"] / plain["seconds"], bound["peak"] / plain["peak"]
        print(
            f"| {method} | {plain['seconds']:.2f} | {bound['seconds']:.2f} | {ratios[0]:.2f} | "
            f"{plain['peak']:.2f} | {bound['peak']:.2f} | {ratios[1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
