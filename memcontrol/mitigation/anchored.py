r"""After training, drop the channels of LoRA that lie across what the base does.

The update of a layer is taken apart into singular channels :math:`\sigma_i u_i v_i^\top`. With :math:`U_k, V_k` the
first singular vectors of the base's weight, those that carry a share of its energy, a channel is as well aligned as

.. math:: a_i = \lVert U_k^\top u_i \rVert \, \lVert V_k^\top v_i \rVert,

which a random channel exceeds the less, the fewer vectors these are; so it is compared with :math:`k / \sqrt{m n}`.
"""

from __future__ import annotations

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import pad

from memcontrol.adapters.svdiff.factors import as_matrix
from memcontrol.adapters.svdiff.store import factors_of
from memcontrol.errors import AdapterError, MemControlError
from memcontrol.mitigation.base import Mitigation
from memcontrol.ranges import check_ranges

__all__ = ["BaseAnchoredFilter"]

ADAPTER = "default"


class BaseAnchoredFilter(Mitigation):
    """Drops those channels of a LoRA that are least aligned with the principal subspace of the base's weights.

    What the base knows how to do is in few directions; what lies across them may be what was learnt by heart.

    Args:
        share: Share of all channels that is dropped, in [0, 1).
        energy: Share of the squared singular values that the principal subspace carries, in (0, 1].

    Raises:
        MemControlError: If a number is out of range.

    References:
        Zhe et al., "Filtering memorization from parameter-space in diffusion models", 2026,
        https://arxiv.org/abs/2605.10439 (the idea, from its abstract; measure of alignment and choice are ours).
    """

    changes_last_weights = True
    is_per_sample = True

    def __init__(self, share: float = 0.25, energy: float = 0.9) -> None:
        self.share = share
        self.energy = energy
        check_ranges(MemControlError, "BaseAnchoredFilter", self, {"share": "[0, 1)", "energy": "(0, 1]"})

    def check(self, unet: nn.Module) -> None:
        """See that there is a LoRA.

        Raises:
            AdapterError: If nothing of the U-Net is adapted by one.
        """
        if not _layers(unet):
            raise AdapterError(
                "BaseAnchoredFilter drops channels of LoRA, but `model.adapter` is no peft.LoraConfig. Leave it out of "
                "`model.mitigations`, or train a LoRA."
            )

    @torch.no_grad()
    def finish(self, unet: nn.Module) -> None:
        """Write the kept channels back into the LoRA."""
        layers = _layers(unet)
        if not layers:  # a run that trains nothing
            return
        channels = [_channels(layer) for layer in layers]
        alignments = [self._alignment(layer, u, v) for layer, (u, _, v) in zip(layers, channels, strict=True)]
        dropped = int(self.share * sum(map(len, alignments)))
        bound = torch.cat(alignments).sort().values[dropped]
        for layer, (u, s, v), alignment in zip(layers, channels, alignments, strict=True):
            roots = torch.where(alignment < bound, 0.0, s).sqrt()
            up, down = layer.lora_B[ADAPTER].weight, layer.lora_A[ADAPTER].weight
            spare = up.shape[1] - len(s)  # of a rank above the layer's own, as many channels stay empty
            up.copy_(pad(u * roots, (0, spare)).view_as(up))
            down.copy_(pad(roots[:, None] * v, (0, 0, 0, spare)).view_as(down))

    def _alignment(self, layer: LoraLayer, u: Tensor, v: Tensor) -> Tensor:
        """Return how well each channel is aligned, as a multiple of what a random one would be, with shape `(k,)`."""
        weight: Tensor = layer.get_base_layer().weight
        left, values, right = (factor.to(u) for factor in factors_of(weight.detach()))
        carried = values.square().cumsum(0) / values.square().sum()
        k = int((carried < self.energy).sum()) + 1
        rows, columns = as_matrix(weight).shape
        aligned = (left[:, :k].T @ u).norm(dim=0) * (right[:k] @ v.T).norm(dim=0)
        found: Tensor = aligned * (rows * columns) ** 0.5 / k
        return found


def _layers(unet: nn.Module) -> list[LoraLayer]:
    return [m for m in unet.modules() if isinstance(m, LoraLayer) and ADAPTER in m.lora_A]


def _channels(layer: LoraLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Return the singular channels of what a LoRA adds, without its scaling: `(m, k)`, `(k,)` and `(k, n)`."""
    up, down = layer.lora_B[ADAPTER].weight.flatten(1), layer.lora_A[ADAPTER].weight.flatten(1)
    q_up, r_up = torch.linalg.qr(up.double())
    q_down, r_down = torch.linalg.qr(down.double().T)
    inner_u, s, inner_v = torch.linalg.svd(r_up @ r_down.T, full_matrices=False)
    return q_up @ inner_u, s, inner_v @ q_down.T
