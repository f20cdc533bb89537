"""PEFT configs as plain values, for checkpoints and records."""

from __future__ import annotations

import json
from typing import Any

from peft import mapping
from peft.config import PeftConfig

from memcontrol.errors import AdapterError

__all__ = ["config_from_plain", "config_to_plain"]


def config_to_plain(config: PeftConfig | None) -> dict[str, Any] | None:
    """Return a config as JSON-like values, with its `peft_type`."""
    if config is None:
        return None
    values = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    plain["peft_type"] = str(getattr(config.peft_type, "value", config.peft_type))
    return {key: value for key, value in plain.items() if value is not None}


def config_from_plain(values: dict[str, Any] | None) -> PeftConfig | None:
    """Undo `config_to_plain`; only types that PEFT knows are built, no class path is followed.

    Raises:
        AdapterError: If PEFT has no such type, or not with these options.
    """
    if values is None:
        return None
    options = dict(values)
    peft_type = options.pop("peft_type", None)
    known = mapping.PEFT_TYPE_TO_CONFIG_MAPPING
    if peft_type not in known:
        raise AdapterError(
            f"The adapter's `peft_type` is {peft_type!r}, but must be one of {sorted(map(_name, known))}. "
            "If it is an adapter of your own, name its file or folder under `extensions`, or import it first."
        )
    try:
        return known[peft_type](**options)
    except TypeError as error:
        raise AdapterError(f"The adapter {peft_type} does not take these options: {error}") from error


def _name(peft_type: Any) -> str:
    return str(getattr(peft_type, "value", peft_type))
