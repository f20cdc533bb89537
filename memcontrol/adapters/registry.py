"""Enter tuners of our own into PEFT, so that its functions work on them.

PEFT's `register_peft_method` takes only names of its own enum, so the string type goes straight into the
three public mappings. This is the only place that does so.
"""

from __future__ import annotations

from typing import Any

from peft import mapping
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner

from memcontrol.adapters.method import METHODS, Method

__all__ = ["register"]


def register(
    peft_type: str, config_class: type[PeftConfig], model_class: type[BaseTuner], method_class: type[Method[Any]]
) -> None:
    """Make PEFT and our planning know a tuner; its folder calls this, and nothing else has to know it.

    Args:
        peft_type: Upper-case name, as it stands in `adapter_config.json`.
        config_class: Its config; `peft_type` must be set in `__post_init__`.
        model_class: Its tuner, with `prefix` and `tuner_layer_cls`.
        method_class: What it can adapt, and which config says so.

    Raises:
        ValueError: If PEFT already has another tuner of that name.
    """
    known = mapping.PEFT_TYPE_TO_CONFIG_MAPPING.get(peft_type)  # type: ignore[call-overload]
    if known not in (None, config_class):
        raise ValueError(f"Argument `peft_type` is {peft_type!r}, which PEFT already uses for {known}.")
    mapping.PEFT_TYPE_TO_CONFIG_MAPPING[peft_type] = config_class  # type: ignore[index]
    mapping.PEFT_TYPE_TO_TUNER_MAPPING[peft_type] = model_class  # type: ignore[index]
    mapping.PEFT_TYPE_TO_PREFIX_MAPPING[peft_type] = model_class.prefix  # type: ignore[index]
    METHODS[config_class] = method_class
