"""Config of selective fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from peft.config import PeftConfig

from memcontrol.errors import AdapterError

__all__ = ["Selection", "SelectiveConfig"]

Selection = Literal["full", "bias", "norm", "norm_bias", "attention", "norm_bias_attention"]


@dataclass
class SelectiveConfig(PeftConfig):
    """Train chosen weights and biases themselves, as copies beside the base's.

    Args:
        tune: Which parameters may be free: all (`full`), biases (`bias`, BitFit), norms (`norm`), attention
            layers (`attention`), or unions of these.
        free_parameters: Full names of the parameters to free. memcontrol fills it from the mask.
        target_modules: Names of the modules that hold them. memcontrol fills it from the mask.
        exclude_modules: Names of modules to leave out.

    Raises:
        AdapterError: If `tune` is not one of these.

    References:
        Ben Zaken et al., "BitFit", ACL 2022, https://arxiv.org/abs/2106.10199 (`bias`);
        Touvron et al., "Three things everyone should know about Vision Transformers", ECCV 2022,
        https://arxiv.org/abs/2203.09795 (`attention`).
    """

    tune: Selection = "full"
    free_parameters: list[str] | None = None
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None

    def __post_init__(self) -> None:
        """Check the selection and set the type by which PEFT finds the tuner."""
        super().__post_init__()
        if self.tune not in get_args(Selection):
            raise AdapterError(f"Argument `tune` must be one of {list(get_args(Selection))}, but got {self.tune!r}.")
        self.peft_type = "SELECTIVE"
