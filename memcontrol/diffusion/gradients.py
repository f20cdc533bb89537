"""What gradients give away of single images, whatever the weights are made from.

The gradient of a layer's weight is made of what comes in and of the gradient of what goes out, so it is the same for a
plain layer, for one with an adapter around it, and for one whose adapter was merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import regex
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from memcontrol.diffusion.losses import denoising_errors
from memcontrol.diffusion.noising import noise_latents, sample_timesteps
from memcontrol.diffusion.probes import Denoiser
from memcontrol.diffusion.recording import recording

__all__ = ["gradient_norms", "weight_gradient"]

BLOCK = regex.compile(r"(down_blocks|up_blocks)\.\d+|mid_block")


def gradient_norms(
    denoiser: Denoiser, moments: Tensor, states: Tensor, seeds: Tensor, draws: int = 4, share: float = 1.0
) -> Tensor:
    """Return the norms of the loss's gradient by block of the U-Net, one image at a time; lower for members.

    Args:
        denoiser: The model, with its module.
        moments: Posterior mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
        states: Encoded captions, with shape `(B, L, D)`.
        seeds: One seed per image, with shape `(B,)`.
        draws: Noise and timestep pairs per image, whose mean loss is differentiated.
        share: Share of the schedule, from little noise, that the pairs are spread over, in (0, 1].

    Returns:
        Norms over the weights of linear and convolution layers, with shape `(B, blocks)`: those before the first block
        and after the last one together, then block by block in the module's order.

    References:
        Pang et al., "White-box membership inference attacks against diffusion models", PoPETs 2025,
        https://arxiv.org/abs/2308.06405 (GSA1: one gradient of the loss averaged over timesteps).
    """
    assert denoiser.module is not None
    layers = _weighted_layers(denoiser.module)
    blocks = list(dict.fromkeys(["", *map(_block_of, layers)]))
    found = torch.zeros(len(moments), len(blocks))
    for row in range(len(moments)):
        squares = dict.fromkeys(blocks, 0.0)
        for name, gradient in _gradients(denoiser, layers, moments[row], states[row], seeds[row], draws, share):
            squares[_block_of(name)] += float(gradient.float().square().sum())
        found[row] = torch.tensor([squares[block] for block in blocks]).sqrt()
    return found


def weight_gradient(layer: nn.Module, came_in: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of a layer's weight, summed over a batch.

    Args:
        layer: A linear or convolution layer.
        came_in: What came into it.
        gradient: Gradient of what went out.

    Returns:
        The gradient, with the weight's shape.
    """
    came_in = came_in.to(gradient.dtype)
    if isinstance(layer, nn.Linear):
        return gradient.flatten(0, -2).T @ came_in.flatten(0, -2)
    assert isinstance(layer, nn.Conv2d)
    like = (layer.stride, layer.padding, layer.dilation, layer.groups)
    found: Tensor = conv2d_weight(came_in, layer.weight.shape, gradient, *like)
    return found


def _gradients(
    denoiser: Denoiser, layers: Mapping[str, nn.Module], moments: Tensor, states: Tensor, seed: Tensor, draws: int,
    share: float,
) -> Iterator[tuple[str, Tensor]]:  # fmt: skip
    """Yield the weight's gradient of each layer for one image, one after the other."""
    seeds = seed[None]
    times, noised = [], []
    for part in range(draws):
        times.append(sample_timesteps(seeds, max(1, int(share * denoiser.num_timesteps)), part, draws))
        noised.append(noise_latents(denoiser.scheduler, moments[None, :1], seeds, times[-1], stream=f"probe {part}"))
    with torch.inference_mode(False), torch.enable_grad():
        x_t, target = (torch.cat([getattr(n, name) for n in noised]).clone() for name in ("x_t", "target"))
        t = torch.cat([n.t for n in noised]).clone()
        with recording(layers) as seen:
            prediction = denoiser.unet(x_t, t, states[None].expand(draws, -1, -1).clone())
        loss = denoising_errors(prediction, target).mean()
        calls = {name: of_layer[-1] for name, of_layer in seen.items()}
        gradients = torch.autograd.grad(loss, [call.out for call in calls.values()])
        for (name, call), gradient in zip(calls.items(), gradients, strict=True):
            layer = layers[name]
            plain = layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer
            yield name, weight_gradient(plain, call.given[0].detach(), gradient)


def _weighted_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return linear and convolution layers by name, each once: an adapter's layer stands for what it wraps."""
    found: dict[str, nn.Module] = {}
    wrapped: tuple[str, ...] = ()
    for name, layer in module.named_modules():
        if name.startswith(wrapped):
            continue
        is_wrapper = isinstance(layer, BaseTunerLayer)
        if is_wrapper:
            wrapped = (*wrapped, f"{name}.")
        if isinstance(layer.get_base_layer() if is_wrapper else layer, (nn.Linear, nn.Conv2d)):  # type: ignore[operator]
            found[name] = layer
    return found


def _block_of(name: str) -> str:
    found = BLOCK.search(name)
    return found.group(0) if found else ""
