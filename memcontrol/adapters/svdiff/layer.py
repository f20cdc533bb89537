r"""SVDiff's layer.

With :math:`W = U \,\mathrm{diag}(S)\, V^\top` frozen, the shift :math:`\delta` is trained:

.. math:: W' = W + U \,\mathrm{diag}(\mathrm{relu}(S + \delta) - S)\, V^\top

At :math:`\delta = 0` the second term is exactly zero, so no reconstruction error enters: this is what is drawn,
validated and saved. Training may use :math:`U \,\mathrm{diag}(\mathrm{relu}(S + \delta))\, V^\top` alone, which equals
it up to rounding.

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
        """Return `relu(S + shift) - S`, with shape `(r,)`, so that a small shift is not rounded off."""
        shift: Tensor = self.svdiff_shift[adapter_name]
        return torch.maximum(shift, -self.s)

    def adapted_parameters(self, adapter_name: str) -> dict[str, Tensor]:
        """Return the weight with shifted singular values."""
        weight = self.get_base_layer().get_parameter("weight")
        delta = (self.u * self.change(adapter_name)) @ self.vh
        return {"weight": weight + delta.view_as(weight)}

    def adapted_forward(self, adapter_name: str, x: Tensor) -> Tensor:
        """Compute in the form that takes the fewest multiplications.

        With P positions, `rows x columns` the weight and r singular values, a forward costs

        - `P r (rows + columns)` through the factors alone, `U (relu(S + shift) * (V^T x))`: in training only, since at
          a shift of zero it differs from the base layer by rounding, about 1e-6;
        - `P rows columns + P r (rows + columns)` through base layer and factors;
        - `P rows columns + r rows columns` through the adapted weight, and in training as much as the base layer
          again for the weight's gradient.
        """
        base = self.get_base_layer()
        if not isinstance(base, nn.Linear) and not (isinstance(base, nn.Conv2d) and self._convolves_plainly(base)):
            return super().adapted_forward(adapter_name, x)
        rows, columns = as_matrix(base.weight).shape
        positions, r = self._num_positions(base, x), len(self.s)
        factored = positions * r * (rows + columns)
        if torch.is_grad_enabled() and self.svdiff_shift[adapter_name].requires_grad:
            if 2 * factored < 3 * positions * rows * columns + 2 * r * rows * columns:
                return self._factored(base, x, torch.relu(self.s + self.svdiff_shift[adapter_name]), base.bias)
        elif factored < r * rows * columns:
            output: Tensor = base(x)
            return output + self._factored(base, x, self.change(adapter_name), None)
        return super().adapted_forward(adapter_name, x)

    def gradients_by_group(self, x: Tensor, outgoing: Tensor, groups: int) -> dict[str, Tensor] | None:
        r"""Return the gradient of the shift for each of some groups of a batch, as private training needs it.

        It is :math:`\sum_t U^\top g_t \odot V^\top x_t` over a group's positions, where a value is not cut off at zero:
        two multiplications by the factors, whatever form the forward had.

        Args:
            x: What came in, groups one after the other.
            outgoing: Gradient of what went out.
            groups: Number of groups, of equal size.

        Returns:
            Gradients with shape `(groups, r)`, by the parameter's name; None where the layer is of another kind.
        """
        base, name = self.get_base_layer(), self.active_adapters[0]
        shift = self.svdiff_shift[name]
        if isinstance(base, nn.Linear):
            product = functional.linear(x, self.vh) * functional.linear(outgoing, self.u.T)
        elif isinstance(base, nn.Conv2d) and self._convolves_plainly(base):
            kernel = self.vh.view(-1, *base.weight.shape[1:])
            inner = functional.conv2d(x, kernel, None, base.stride, base.padding, base.dilation)
            product = (inner * functional.conv2d(outgoing, self.u.T[:, :, None, None])).movedim(1, -1)
        else:
            return None
        summed = product.reshape(groups, -1, len(self.s)).sum(dim=1, dtype=torch.float32)
        return {f"svdiff_shift.{name}": summed * (self.s + shift > 0)}

    def _convolves_plainly(self, base: nn.Conv2d) -> bool:
        return base.groups == 1 and base.padding_mode == "zeros" and not isinstance(base.padding, str)

    def _num_positions(self, base: nn.Linear | nn.Conv2d, x: Tensor) -> int:
        """Return how often the weight is applied in a batch."""
        if isinstance(base, nn.Linear):
            return x.numel() // x.shape[-1]
        return x.numel() // (x.shape[1] * base.stride[0] * base.stride[1])

    def _factored(self, base: nn.Linear | nn.Conv2d, x: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """Apply `U diag(values) V^T`."""
        if isinstance(base, nn.Linear):
            return functional.linear(functional.linear(x, self.vh) * values, self.u, bias)
        kernel = self.vh.view(-1, *base.weight.shape[1:])
        inner = functional.conv2d(x, kernel, None, base.stride, base.padding, base.dilation)
        return functional.conv2d(inner * values[:, None, None], self.u[:, :, None, None], bias)
