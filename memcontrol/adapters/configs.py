"""PEFT configs as plain values, for checkpoints and records."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any, Final

import regex
from peft import mapping
from peft.config import PeftConfig
from peft.utils.constants import INCLUDE_LINEAR_LAYERS_SHORTHAND

from memcontrol.errors import AdapterError
from memcontrol.plain import read_mapping

__all__ = ["PATTERNS", "config_class_of", "config_from_plain", "config_to_plain", "named_by", "read_peft_config"]

LAYERWISE: Final = (
    "ADALORA", "ADAMSS", "BEFT", "BOFT", "C3A", "DEFT", "DELORA", "FOURIERFT", "FROD", "GLORA", "GRALORA", "HIRA",
    "HRA", "IA3", "LILY", "LN_TUNING", "LOHA", "LOKR", "LORA", "MISS", "OFT", "OSF", "PEANUT", "PSOFT", "PVERA",
    "RANDLORA", "ROAD", "SHIRA", "SUPERTUNING", "TINYLORA", "UNILORA", "VBLORA", "VERA", "WAVEFT",
)  # fmt: skip
"""PEFT's own types that adapt layers by themselves."""
PATTERNS: Final = ("rank_pattern", "alpha_pattern")
"""Options of PEFT that give modules numbers of their own, by regular expressions of their names."""
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


def read_peft_config(folder: Path, names: Sequence[str]) -> PeftConfig:
    """Read the config of a PEFT folder that somebody else may have written.

    Args:
        folder: A folder with `adapter_config.json`.
        names: Names of the modules of the U-Net.

    Returns:
        The config, in which a pattern of targets has become the names that it matches.

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
            f"{path} has the options {further}, which PEFT {version('peft')} does not know. Update it, or remove them."
        )
    for option in ("target_modules", "exclude_modules"):
        targets = values.get(option)
        if isinstance(targets, str) and targets.lower() != INCLUDE_LINEAR_LAYERS_SHORTHAND:
            values[option] = _matched(targets, names, path)
        elif not isinstance(targets, list | str | None) or not all(isinstance(t, str) for t in targets or ()):
            raise AdapterError(f"{path} has {option!r}: {str(targets)[:100]}, which are no names of modules.")
    for option in PATTERNS:
        if isinstance(values.get(option), dict):
            values[option] = named_by(values[option], names, str(path))
    found = config_from_plain({name: value for name, value in values.items() if name in known})
    assert found is not None
    return found


def named_by(pattern: Mapping[str, Any], names: Iterable[str], source: str = "Argument `adapter`") -> dict[str, Any]:
    """Return what PEFT reads from a `rank_pattern` for each of some modules, by the module's own name.

    Args:
        pattern: Values by regular expressions, of which the first that matches a name, or its end after a dot, counts.
        names: Names of modules.
        source: Where the pattern stands, for messages.

    Returns:
        Values by escaped names, which PEFT reads as the names themselves, of those modules that the pattern names.

    Raises:
        AdapterError: If a pattern is none or takes longer than two seconds.
    """
    found: dict[str, Any] = {}
    try:
        compiled = {key: regex.compile(rf"(.*\.)?({key})") for key in pattern}
        end = time.monotonic() + 2
        for name in names if compiled else ():
            for key, expression in compiled.items():
                if expression.fullmatch(name, timeout=max(end - time.monotonic(), 0.001)):
                    found[re.escape(name)] = pattern[key]
                    break
    except (TimeoutError, regex.error) as error:
        raise AdapterError(
            f"{source} names modules by the patterns {str(list(pattern))[:200]}, which cannot be compared with their "
            f"names ({error or 'it takes too long'}). Write the names out."
        ) from error
    return found


def _matched(pattern: str, names: Sequence[str], path: Path) -> list[str]:
    """Return the names that a pattern matches whole, as PEFT would, but within two seconds."""
    try:
        compiled = regex.compile(pattern)
        end = time.monotonic() + 2
        return [name for name in names if compiled.fullmatch(name, timeout=max(end - time.monotonic(), 0.001))]
    except (TimeoutError, regex.error) as error:
        raise AdapterError(
            f"{path} chooses modules by the pattern {pattern[:100]!r}, which cannot be compared with their names "
            f"({error or 'it takes too long'}). Write the names out."
        ) from error


def _name(peft_type: Any) -> str:
    return str(getattr(peft_type, "value", peft_type))
