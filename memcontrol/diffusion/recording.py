"""Keep what comes into layers and what goes out, which gradients of single images are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Call", "recording"]


class Call(NamedTuple):
    """One call of a layer.

    Args:
        given: What came in, by place.
        options: What came in, by name.
        out: What went out, with a gradient.
    """

    given: tuple[Any, ...]
    options: dict[str, Any]
    out: Tensor


@contextmanager
def recording(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Call]]]:
    """Keep each call of each layer that is made with gradients, by the layer's name, for as long as this is open."""
    seen: dict[str, list[Call]] = {}

    def hook_of(name: str) -> Any:
        def hook(_: nn.Module, given: tuple[Any, ...], options: dict[str, Any], out: Tensor) -> None:
            if not torch.is_grad_enabled():
                return
            if not out.requires_grad:
                out.requires_grad_()  # nothing before this layer has a gradient
            seen.setdefault(name, []).append(Call(given, options, out))

        return hook

    handles = [layer.register_forward_hook(hook_of(name), with_kwargs=True) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
