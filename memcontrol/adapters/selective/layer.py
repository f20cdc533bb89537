"""Selective fine-tuning's layer: the base layer with trained copies of its weight or bias."""

from __future__ import annotations

from peft.config import PeftConfig
from torch import Tensor

from memcontrol.adapters.copies import add_copies, copies_of, forward_with_copies
from memcontrol.adapters.layer import LeafLayer

__all__ = ["SelectiveLayer"]


class SelectiveLayer(LeafLayer):
    """Any leaf module whose weight, bias or both are free."""

    adapter_layer_names = ("selective_weight", "selective_bias")

    def add_parameters(self, adapter_name: str, config: PeftConfig, module_name: str) -> None:
        """Copy the parameters that the config frees."""
        add_copies(self, "selective_", adapter_name, module_name, config.free_parameters or ())

    def adapted_parameters(self, adapter_name: str) -> dict[str, Tensor]:
        """Return the copies."""
        return copies_of(self, "selective_", adapter_name)

    def adapted_forward(self, adapter_name: str, x: Tensor) -> Tensor:
        """Compute with the copies."""
        return forward_with_copies(self.get_base_layer(), copies_of(self, "selective_", adapter_name), x)
