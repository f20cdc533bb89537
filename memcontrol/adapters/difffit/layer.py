r"""DiffFit's layer: free biases and norms, and scales of outputs.

A scale vector :math:`\gamma`, starting at one, multiplies the output of a layer:
:math:`y' = \gamma \odot (W x + b)`. In a transformer block the outputs of `attn1`, `attn2` and `ff` have one
each, and inside each attention the query, key, value and output projections have one each. An attention's
output is that of its output projection, which therefore carries two scales.
"""

from __future__ import annotations

import torch
from peft.config import PeftConfig
from torch import Tensor, nn

from memcontrol.adapters.copies import add_copies, copies_of, forward_with_copies
from memcontrol.adapters.layer import LeafLayer

__all__ = ["DiffFitLayer", "num_scales"]


def num_scales(module_name: str) -> int:
    """Return how many scale vectors a Linear of this name has in DiffFit: 0, 1 or 2."""
    if ".transformer_blocks." not in module_name:
        return 0
    if module_name.endswith((".to_q", ".to_k", ".to_v", ".ff.net.2")):
        return 1
    return 2 if module_name.endswith(".to_out.0") else 0


class DiffFitLayer(LeafLayer):
    """A leaf module with free bias, free norm weight or scaled output."""

    adapter_layer_names = ("difffit_weight", "difffit_bias", "difffit_gamma")
    difffit_gamma: nn.ParameterDict

    def add_parameters(self, adapter_name: str, config: PeftConfig, module_name: str) -> None:
        """Copy what is free and create scales of one, with shape `(1 or 2, out_features)`."""
        add_copies(self, "difffit_", adapter_name, module_name, config.free_parameters or ())
        if module_name in (config.scaled_modules or ()):
            weight = self.get_base_layer().get_parameter("weight")
            ones = torch.ones(num_scales(module_name), len(weight), dtype=weight.dtype, device=weight.device)
            self.difffit_gamma[adapter_name] = nn.Parameter(ones)

    def gamma(self, adapter_name: str) -> Tensor | None:
        """Return the product of the scales, with shape `(out_features,)`."""
        if adapter_name not in self.difffit_gamma:
            return None
        scales: Tensor = self.difffit_gamma[adapter_name]
        return scales.prod(dim=0)

    def adapted_parameters(self, adapter_name: str) -> dict[str, Tensor]:
        """Return the copies, scaled."""
        adapted = copies_of(self, "difffit_", adapter_name)
        gamma = self.gamma(adapter_name)
        if gamma is None:
            return adapted
        base = self.get_base_layer()
        adapted["weight"] = gamma[:, None] * base.get_parameter("weight")
        if getattr(base, "bias", None) is not None:
            adapted["bias"] = gamma * adapted.get("bias", base.get_parameter("bias"))
        return adapted

    def adapted_forward(self, adapter_name: str, x: Tensor) -> Tensor:
        """Scale the output rather than the weight."""
        copies = copies_of(self, "difffit_", adapter_name)
        output = forward_with_copies(self.get_base_layer(), copies, x)
        gamma = self.gamma(adapter_name)
        return output if gamma is None else output * gamma
