"""What selective tuning can adapt."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from memcontrol.adapters.method import NORMS, Method, exactly, leaves, owner_of, parameters_of
from memcontrol.adapters.selective.config import SelectiveConfig

__all__ = ["SelectiveMethod"]


class SelectiveMethod(Method[SelectiveConfig]):
    """Weights and biases themselves."""

    copies_prefix = "selective_"

    def units(self, unet: nn.Module) -> list[str]:
        """Return the parameters of the selection."""
        return parameters_of(leaves(unet), self._is_selected)

    def rest(self, unet: nn.Module) -> list[str]:
        """Add what the paper's attention tuning leaves free: all of the attentions but `attn*`."""
        if self.config.tune != "attention":
            return []
        return parameters_of(leaves(unet), lambda name, _, __: ".attentions." in f".{name}" and not is_attention(name))

    def targeting(self, units: list[str]) -> SelectiveConfig:
        """Free the parameters."""
        owners = list(dict.fromkeys(map(owner_of, units)))
        return replace(self.config, free_parameters=units, target_modules=exactly(owners))

    def _is_selected(self, name: str, module: nn.Module, key: str) -> bool:
        parts = {
            "bias": key == "bias",
            "norm": isinstance(module, NORMS),
            "attention": is_attention(name),
        }
        tune = self.config.tune
        return tune == "full" or any(chosen for part, chosen in parts.items() if part in tune.split("_"))


def is_attention(name: str) -> bool:
    """Whether a module of this name is part of an attention layer."""
    return ".attn" in name
