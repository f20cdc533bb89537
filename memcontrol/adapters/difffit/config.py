"""Config of DiffFit."""

from __future__ import annotations

from dataclasses import dataclass

from peft.config import PeftConfig

__all__ = ["DiffFitConfig"]


@dataclass
class DiffFitConfig(PeftConfig):
    """Train biases, norms, and scales of what a transformer block's layers put out.

    Args:
        scaled_modules: Full names of the Linear modules whose outputs are scaled. memcontrol fills it
            from the mask.
        free_parameters: Full names of the biases and norm weights to free. memcontrol fills it.
        target_modules: Names of all modules that hold one of these. memcontrol fills it.
        exclude_modules: Names of modules to leave out.

    References:
        Xie et al., "DiffFit: Unlocking Transferability of Large Diffusion Models via Simple
        Parameter-Efficient Fine-Tuning", ICCV 2023, https://arxiv.org/abs/2304.06648 (section 3.2).
    """

    scaled_modules: list[str] | None = None
    free_parameters: list[str] | None = None
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None

    def __post_init__(self) -> None:
        """Set the type by which PEFT finds the tuner."""
        super().__post_init__()
        self.peft_type = "DIFFFIT"
