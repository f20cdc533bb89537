r"""SVDiff's layer.

With :math:`W = U \,\mathrm{diag}(S)\, V^\top` frozen, the shift :math:`\delta` is trained:

.. math:: W' = W + U \,\mathrm{diag}(\mathrm{relu}(S + \delta) - S)\, V^\top

At :math:`\delta = 0` the second term is exactly zero, so no reconstruction error enters.

References:
    Han et al., "SVDiff: Compact Parameter Space for Diffusion Fine-Tuning", ICCV 2023,
    https://arxiv.org/abs/2303.11305 (section 3.2; a shift instead of a new weight is eq. 2).
"""

from __future__ import annotations

import torch
from peft.config import PeftConfig
from torch import Tensor, nn
from torch.nn import functional

from memcontrol.adapters.layer import LeafLayer
from memcontrol.adapters.svdiff.factors import as_matrix
from memcontrol.adapters.svdiff.store import factors_of

__all__ = ["SVDiffLayer"]


class SVDiffLayer(LeafLayer):
    """A Linear, Conv2d, LayerNorm or GroupNorm whose singular values are shifted."""

    adapter_layer_names = ("svdiff_shift",)

    svdiff_shift: nn.ParameterDict
    u: Tensor
    s: Tensor
    vh: Tensor

    def prepare(self) -> None:
        """Decompose the base weight, or take what is known of it; the factors are no part of any state dict."""
        super().prepare()
        u, s, vh = factors_of(self.get_base_layer().get_parameter("weight").detach())
        self.register_buffer("u", u, persistent=False)
        self.register_buffer("s", s, persistent=False)
        self.register_buffer("vh", vh, persistent=False)

    @property
    def is_vector(self) -> bool:
        """Whether the weight is a norm's vector, with a single shift."""
        return self.get_base_layer().get_parameter("weight").ndim == 1

    def add_parameters(self, adapter_name: str, config: PeftConfig, module_name: str) -> None:
        """Create shifts of zero."""
        self.svdiff_shift[adapter_name] = nn.Parameter(torch.zeros_like(self.s))

    def change(self, adapter_name: str) -> Tensor:
        """Return `relu(S + shift) - S`, with shape `(r,)`."""
        shift: Tensor = self.svdiff_shift[adapter_name]
        return torch.relu(self.s + shift) - self.s

    def adapted_parameters(self, adapter_name: str) -> dict[str, Tensor]:
        """Return the weight with shifted singular values."""
        weight = self.get_base_layer().get_parameter("weight")
        delta = (self.u * self.change(adapter_name)) @ self.vh
        return {"weight": weight + delta.view_as(weight)}

    def adapted_forward(self, adapter_name: str, x: Tensor) -> Tensor:
        """Use factors instead of the adapted weight where that takes fewer multiplications."""
        base = self.get_base_layer()
        if isinstance(base, nn.Linear) and self._factors_are_cheaper(x.numel() // x.shape[-1]):
            inner = functional.linear(x, self.vh) * self.change(adapter_name)
            output: Tensor = base(x) + functional.linear(inner, self.u)
            return output
        if isinstance(base, nn.Conv2d) and self._convolves_plainly(base):
            output = base(x)
            if self._factors_are_cheaper(output.numel() // output.shape[1]):
                return output + self._factored_convolution(base, adapter_name, x)
        return super().adapted_forward(adapter_name, x)

    def _convolves_plainly(self, base: nn.Conv2d) -> bool:
        return base.groups == 1 and base.padding_mode == "zeros" and not isinstance(base.padding, str)

    def _factors_are_cheaper(self, num_positions: int) -> bool:
        rows, columns = as_matrix(self.get_base_layer().get_parameter("weight")).shape
        return num_positions * (rows + columns) < 2 * rows * columns

    def _factored_convolution(self, base: nn.Conv2d, adapter_name: str, x: Tensor) -> Tensor:
        kernel = self.vh.view(-1, *base.weight.shape[1:])
        inner = functional.conv2d(x, kernel, None, base.stride, base.padding, base.dilation)
        inner = inner * self.change(adapter_name)[:, None, None]
        return functional.conv2d(inner, self.u[:, :, None, None])
