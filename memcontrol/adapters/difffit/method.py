"""What DiffFit can adapt."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from memcontrol.adapters.difffit.config import DiffFitConfig
from memcontrol.adapters.difffit.layer import num_scales
from memcontrol.adapters.method import NORMS, Method, exactly, leaves, owner_of, parameters_of

__all__ = ["DiffFitMethod"]


class DiffFitMethod(Method[DiffFitConfig]):
    """Scales inside transformer blocks, and biases and norms everywhere."""

    copies_prefix = "difffit_"

    def units(self, unet: nn.Module) -> list[str]:
        """Return modules whose output is scaled, then parameters that are free."""
        modules = leaves(unet)
        scaled = [n for n, m in modules.items() if isinstance(m, nn.Linear) and num_scales(n)]
        return scaled + parameters_of(modules, lambda _, m, key: key == "bias" or isinstance(m, NORMS))

    def always_on(self, unit: str) -> bool:
        """Keep biases and norms free: the paper's bits govern the scales only."""
        return unit != owner_of(unit)

    def targeting(self, units: list[str]) -> DiffFitConfig:
        """Scale the modules and free the parameters."""
        scaled = [unit for unit in units if unit == owner_of(unit)]
        free = [unit for unit in units if unit != owner_of(unit)]
        owners = list(dict.fromkeys(map(owner_of, units)))
        return replace(
            self.config,
            scaled_modules=scaled,
            free_parameters=free,
            target_modules=exactly(owners),
        )
