"""Memory that a training step takes, computed without a GPU: nothing is allocated, every tensor is a fake one.

python benchmarks/memory.py --config sd15-24gb.yaml [--batch_size 16] [--size 512]

Weights of the U-Net, the adapter, its gradients and optimizer, and what the forward keeps for the backward, at the
config's batch size, picture size, precision and checkpointing. VAE and text encoder are reckoned by their weights, as
their outputs come from the cache while a run trains. What the allocator loses to gaps, and what kernels need for a
moment, is not in it: leave a tenth free.
"""

from __future__ import annotations

import argparse
import weakref
from contextlib import nullcontext
from typing import Any

import torch
import yaml
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from memcontrol.adapters.configs import config_from_plain
from memcontrol.adapters.inject import adapt, resolve_mask
from memcontrol.diffusion.bases import build_skeleton
from memcontrol.diffusion.conditions import take_packed
from memcontrol.files.configs import find_config

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
OTHER_PARTS = {False: 83_653_863 + 123_060_480, True: 83_653_863 + 123_060_480 + 694_659_840}
"""Parameters of VAE and text encoders, of Stable Diffusion 1.5 and of XL."""
GIB = 2**30


def peak_of(model: dict, unet: nn.Module, batch: int, size: int, precision: str) -> dict[str, float]:
    """Return GiB by what they are taken for, at the step's peak.

    Args:
        model: `init_args` of the module.
        unet: The U-Net of its base, on the `meta` device.
        batch: Images per step and device.
        size: Height and width in pixels.
        precision: The trainer's.
    """
    described = dict(model["adapter"])
    values = dict(described.get("init_args") or {})
    kind = {"peft.LoraConfig": "LORA"}.get(described["class_path"], described["class_path"].rpartition(".")[2])
    kind = {"DiffFitConfig": "DIFFFIT", "SelectiveConfig": "SELECTIVE"}.get(kind, kind)
    unet.requires_grad_(False).train()
    config = unet.config
    layout, mask = resolve_mask(unet, model.get("slots", "paper13"), model.get("mask", "all"))
    adapted = adapt(unet, config_from_plain({"peft_type": kind, **values}), layout, mask)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _fill(unet)
        if model.get("gradient_checkpointing"):
            unet.enable_gradient_checkpointing()
        optimizer = torch.optim.AdamW(adapted.trainable().values(), foreach=False)
        latents = torch.randn(batch, 4, size // 8, size // 8)
        xl = is_xl(unet)
        if xl:
            take_packed(unet, 8)
        states = torch.randn(batch, 77 + xl, config["cross_attention_dim"])
        half = HALF.get(precision)
        found = {"weights of the U-Net and adapter": _bytes(unet) / GIB}
        for _ in range(2):  # the optimizer's state comes with the first step
            with _Peak() as peak, torch.autocast("cpu", half) if half else nullcontext():
                error = unet(latents, torch.full((batch,), 500), states).sample.float().square().mean()
                kept = peak.now
                error.backward()
                optimizer.step()
                optimizer.zero_grad()
        moments = 2 * sum(p.numel() * p.element_size() for p in adapted.trainable().values())
    return {
        **found,
        "moments of the optimizer": moments / GIB,
        "what the forward keeps": kept / GIB,
        "and the backward at its peak": (peak.most - kept) / GIB,
    }


def is_xl(unet: nn.Module) -> bool:
    """Whether a U-Net reads two text encoders and is told sizes."""
    return unet.config.get("addition_embed_type") == "text_time"


class _Peak(TorchDispatchMode):
    """Follows the bytes of tensors that are made inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self._follow(tensor.untyped_storage())
        return found

    def _follow(self, storage: torch.UntypedStorage) -> None:
        number = storage._cdata
        if number in self._known:
            return
        self._known.add(number)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, number, storage.nbytes())

    def _forget(self, number: int, size: int) -> None:
        self._known.discard(number)
        self.now -= size


def _bytes(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))


def _fill(module: nn.Module) -> None:
    """Give tensors on the `meta` device a place on a device that allocates nothing either, but tracks."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(torch.empty(parameter.shape), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def main() -> None:
    """Print the peak, and what it consists of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--batch_size", type=int)
    parser.add_argument("--size", type=int)
    options = parser.parse_args()
    with open(find_config(options.config)) as file:
        config = yaml.safe_load(file)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    batch, size = options.batch_size or data["batch_size"], options.size or data["transform"]["size"]
    precision = config["trainer"].get("precision", "32-true")
    unet = build_skeleton(model["base"])
    others = 4 * OTHER_PARTS[is_xl(unet)] / GIB
    found = peak_of(model, unet, batch, size, precision)
    total = sum(found.values())
    checkpointing = "with" if model.get("gradient_checkpointing") else "without"
    print(f"{options.config}: batch {batch}, {size} px, {precision}, {checkpointing} checkpointing (computed)")
    for name, value in found.items():
        print(f"  {name:<32}{value:8.2f} GiB")
    print(f"  {'VAE and text encoders':<32}{others:8.2f} GiB\n  {'together':<32}{total + others:8.2f} GiB")


if __name__ == "__main__":
    main()
