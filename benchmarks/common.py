"""What the benchmarks share: clocks, bases, and rounds in which every variant is measured once."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from memcontrol.diffusion.bases import build_skeleton

__all__ = ["SIZES", "clock", "interleave", "machine", "make_unet", "show"]

SIZES = ("sd15", "tiny")


def make_unet(size: str, device: str) -> UNet2DConditionModel:
    """Return a frozen U-Net with random weights: SD 1.5's, or one of its structure with 8.6 million parameters."""
    torch.manual_seed(0)
    if size == "sd15":
        unet = UNet2DConditionModel.from_config(build_skeleton("sd15").config)
    else:
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(32, 64, 128, 128), attention_head_dim=4, cross_attention_dim=128
        )
    return unet.to(device).requires_grad_(False).eval()


def clock(device: str) -> float:
    """Return CPU seconds of this process, or wall seconds once the device is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.monotonic()


def interleave(variants: Mapping[str, Callable[[], float]], runs: int) -> dict[str, np.ndarray]:
    """Measure every variant once per round; the first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(runs + 1):
        for name, measure in variants.items():
            spent = measure()
            if number:
                seconds[name].append(spent)
    return {name: np.array(values) for name, values in seconds.items()}


def machine(device: str) -> str:
    """Return what it was measured on."""
    what = torch.cuda.get_device_name() if device != "cpu" else platform.processor() or platform.machine()
    return f"torch {torch.__version__}, {what}, {torch.get_num_threads()} thread(s)"


def show(title: str, seconds: Mapping[str, np.ndarray], against: Mapping[str, str], device: str) -> None:
    """Print medians, and the median of the rounds' ratios to what a variant is held against."""
    kind = "CPU s" if device == "cpu" else "s"
    print(f"\n{title} ({machine(device)}; median of {len(next(iter(seconds.values())))} interleaved runs)")
    for name, values in seconds.items():
        ratio = ""
        if name in against:
            ratio = f"   {np.median(values / seconds[against[name]]):.3f} x {against[name]}"
        print(f"  {name:<34}{np.median(values):9.3f} {kind}{ratio}", flush=True)
