"""Trainable copies of a leaf's own weight and bias, for the methods that free them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

__all__ = ["add_copies", "copies_of"]


def add_copies(layer: nn.Module, prefix: str, adapter_name: str, module_name: str, free: Iterable[str]) -> None:
    """Give a layer trainable copies of those of its base's parameters that are named in `free`.

    Args:
        layer: A `LeafLayer` with ParameterDicts `<prefix>weight` and `<prefix>bias`.
        prefix: Prefix of the tuner's attributes.
        adapter_name: PEFT's name of the adapter.
        module_name: Full name of the layer in the model.
        free: Full names of parameters.
    """
    names = set(free)
    for key in ("weight", "bias"):
        if f"{module_name}.{key}" in names:
            parameter = layer.get_submodule("base_layer").get_parameter(key)
            copy = nn.Parameter(parameter.detach().clone())
            getattr(layer, prefix + key)[adapter_name] = copy


def copies_of(layer: nn.Module, prefix: str, adapter_name: str) -> dict[str, Tensor]:
    """Return the copies a layer holds for an adapter, by parameter name."""
    found = {}
    for key in ("weight", "bias"):
        copies = getattr(layer, prefix + key)
        if adapter_name in copies:
            found[key] = copies[adapter_name]
    return found
