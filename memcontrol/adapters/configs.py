"""PEFT configs as plain values, for checkpoints and records."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any, Final

import regex
from peft import mapping
from peft.config import PeftConfig

from memcontrol.errors import AdapterError
from memcontrol.plain import read_mapping

__all__ = ["check_peft_folder", "config_class_of", "config_from_plain", "config_to_plain"]

LAYERWISE: Final = (
    "ADALORA", "ADAMSS", "BEFT", "BOFT", "C3A", "DEFT", "DELORA", "FOURIERFT", "FROD", "GLORA", "GRALORA", "HIRA",
    "HRA", "IA3", "LILY", "LN_TUNING", "LOHA", "LOKR", "LORA", "MISS", "OFT", "OSF", "PEANUT", "PSOFT", "PVERA",
    "RANDLORA", "ROAD", "SHIRA", "SUPERTUNING", "TINYLORA", "UNILORA", "VBLORA", "VERA", "WAVEFT",
)  # fmt: skip
"""PEFT's own types that adapt layers by themselves."""
IGNORED: Final[tuple[Any, ...]] = (None, False, "", [], {})
"""Values of options of a newer PEFT that change nothing."""


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
    config = config_class_of(options.pop("peft_type", None))
    try:
        return config(**options)
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise AdapterError(f"The adapter {config.__name__} does not take these options: {error}") from error


def config_class_of(peft_type: Any) -> type[PeftConfig]:
    """Return the config class of a type of adapter that works on layers, and so on a U-Net.

    Types that learn prompts, or that fetch tokenizers or other adapters, are none of them.

    Raises:
        AdapterError: If it is another.
    """
    known = {_name(each): config for each, config in mapping.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if peft_type not in known or (peft_type not in LAYERWISE and known[peft_type].__module__.startswith("peft.")):
        ours = sorted(name for name, config in known.items() if not config.__module__.startswith("peft."))
        raise AdapterError(
            f"The adapter's `peft_type` is {str(peft_type)!r}, but must be one of {sorted({*LAYERWISE, *ours})}. "
            "If it is an adapter of your own, name its file or folder under `extensions`, or import it first."
        )
    found: type[PeftConfig] = known[peft_type]
    return found


def check_peft_folder(folder: Path, names: Iterable[str]) -> None:
    """Check the config of a PEFT folder that somebody else may have written, before PEFT reads it.

    Args:
        folder: A folder with `adapter_config.json`.
        names: Names of the modules of the U-Net.

    Raises:
        AdapterError: If its type is none that works on layers, it has options that this PEFT does not know, or its
            targets are no names or take too long to compare.
    """
    path = folder / "adapter_config.json"
    values = read_mapping(path, AdapterError)
    known = signature(config_class_of(values.get("peft_type"))).parameters
    further = sorted(name for name, value in values.items() if name not in known and value not in IGNORED)
    if further:
        raise AdapterError(
            f"{path} has the options {further}, which PEFT {version('peft')} does not know. Update PEFT."
        )
    for option in ("target_modules", "exclude_modules"):
        targets = values.get(option)
        if isinstance(targets, str):
            _check_pattern(targets, names, path)
        elif targets is not None and not (isinstance(targets, list) and all(isinstance(t, str) for t in targets)):
            raise AdapterError(f"{path} has {option!r}: {str(targets)[:100]}, which are no names of modules.")


def _check_pattern(pattern: str, names: Iterable[str], path: Path) -> None:
    try:
        for name in names:
            regex.fullmatch(pattern, name, timeout=0.2)
    except (TimeoutError, regex.error) as error:
        raise AdapterError(
            f"{path} chooses modules by the pattern {pattern[:100]!r}, which cannot be compared with their names "
            f"({error or 'it takes too long'}). Write the names out."
        ) from error


def _name(peft_type: Any) -> str:
    return str(getattr(peft_type, "value", peft_type))
