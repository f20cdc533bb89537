"""What SVDiff can adapt."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from memcontrol.adapters.method import NORMS, Method, exactly, leaves
from memcontrol.adapters.svdiff.config import SVDiffConfig

__all__ = ["SVDiffMethod"]

SPECTRAL = (nn.Linear, nn.Conv2d, *NORMS)


class SVDiffMethod(Method[SVDiffConfig]):
    """Shifts of every weight: Linear, Conv2d, LayerNorm, GroupNorm."""

    def units(self, unet: nn.Module) -> list[str]:
        """Return modules with a weight."""
        return [
            name for name, module in leaves(unet).items() if isinstance(module, SPECTRAL) and module.weight is not None
        ]

    def targeting(self, units: list[str]) -> SVDiffConfig:
        """Target the modules."""
        return replace(self.config, target_modules=exactly(units))

    def is_vector(self, unet: nn.Module, parameter: str) -> bool:
        """Whether it is the single shift of a norm."""
        return bool(getattr(unet.get_submodule(self.unit_of(parameter)), "is_vector", False))
