"""Config of SVDiff."""

from __future__ import annotations

from dataclasses import dataclass

from peft.config import PeftConfig

__all__ = ["SVDiffConfig"]


@dataclass
class SVDiffConfig(PeftConfig):
    """Train the singular values of weights.

    Args:
        target_modules: Names of the Linear, Conv2d, LayerNorm and GroupNorm modules to adapt, or a
            regular expression. memcontrol fills it from the mask.
        exclude_modules: Names of modules to leave out.

    References:
        Han et al., "SVDiff: Compact Parameter Space for Diffusion Fine-Tuning", ICCV 2023,
        https://arxiv.org/abs/2303.11305 (section 3.2).
    """

    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None

    def __post_init__(self) -> None:
        """Set the type by which PEFT finds the tuner."""
        super().__post_init__()
        self.peft_type = "SVDIFF"
