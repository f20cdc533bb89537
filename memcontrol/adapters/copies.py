"""Trainable copies of a leaf's own weight and bias, for the methods that free them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["add_copies", "copies_of", "forward_with_copies"]


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


def forward_with_copies(base: nn.Module, copies: dict[str, Tensor], x: Tensor) -> Tensor:
    """Compute with copies in the place of a layer's own parameters.

    A convolution's free bias is added as a shift of the frozen one, which is exactly zero at first: on a CPU, PyTorch
    computes the gradient of the kernel as well where it is asked for that of the bias.
    """
    output: Tensor
    if isinstance(base, nn.Conv2d) and set(copies) == {"bias"} and base.bias is not None:
        output = base(x) + (copies["bias"] - base.bias)[:, None, None]
    else:
        output = functional_call(base, copies, (x,))
    return output
