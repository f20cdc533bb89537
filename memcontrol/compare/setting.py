"""What a comparison's cells depend on, as digests: what was made under another config or overlay is never mixed in.

A digest hashes what differs from the defaults, by name, so that an option that is added later leaves it as it was.
Until version 0.1 it hashed the texts of all values: evidence of that time is checked by that rule, which stands in
`_old_digest` and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from memcontrol.compare.options import CompareOptions
from memcontrol.data.augment import Augment
from memcontrol.diffusion.timesteps import TimestepOptions
from memcontrol.files.configs import ResolvedConfig
from memcontrol.files.digests import digest_of
from memcontrol.files.moved import old_name

__all__ = ["Setting", "setting_of"]

OLD_KEYS: Final = ("seed_everything", "model", "data", "trainer")
ADDED_SINCE: Final[dict[str, Any]] = {
    "ambient": None,
    "augment": asdict(Augment()),
    "burned_in": "ignore",
    "captions": "first",
    "coin_flips": None,
    "columns": None,
    "each_image_a_subject": False,
    "exclude": None,
    "fit": "crop",
    "identifiers": "report",
    "measures": None,
    "mitigations": [],
    "outside": False,
    "path_column": "file_name",
    "privacy": None,
    "scale": 1.0,
    "scales": None,
    "leave_out": [],
    "lr_factors": {},
    "test_pool": 0,
    "test_pools": 1,
    "timesteps": asdict(TimestepOptions()),
    "truncation_side": "right",
    "value_range": None,
    "weight": 0.5,
}
"""Options that version 0.1 did not have, with their defaults."""


@dataclass(frozen=True)
class Setting:
    """Digest of a comparison, by the present rule and by the old one.

    Args:
        new: By the present rule.
        old: By that of version 0.1.
    """

    new: str
    old: str

    def with_overlay(self, overlay: Path | None) -> Setting:
        """Return what a method's cells depend on: the comparison's digest, and that of the overlay's content."""
        content = overlay.read_bytes() if overlay is not None else b""
        suffix = hashlib.sha256(content).hexdigest()[:16]
        return Setting(f"{self.new}:{suffix}", f"{self.old}:{suffix}")

    def matches(self, digest: str | None) -> bool:
        """Whether something was made under this setting, by either rule."""
        return digest in (self.new, self.old)


def setting_of(options: CompareOptions, config: ResolvedConfig) -> Setting:
    """Return the digest of all that every cell depends on; methods and seeds may be added."""
    cells = [options.lrs, options.memorization, options.quality, options.margin, options.scoring]
    return Setting(digest_of(cells, _wherever_the_cache_is(config.run_changes)), _old_digest(options, config))


def _wherever_the_cache_is(changes: dict[str, Any]) -> dict[str, Any]:
    """Return a config's changes without where encoded images are kept, on which no figure depends."""
    kept = deepcopy(changes)
    data = kept.get("data") or {}
    for options in (data, data.get("init_args") or {}):
        cache = options.get("cache") or {}
        for name in ("folder", "clear"):
            cache.pop(name, None)
        if not cache:
            options.pop("cache", None)
    return kept


def _old_digest(options: CompareOptions, config: ResolvedConfig) -> str:
    scoring = repr(options.scoring).replace(", measures=None", "").replace(", mitigations=[]", "")
    values = {key: _as_it_was(config.values[key]) for key in OLD_KEYS if key in config.values}
    text = yaml.safe_dump(values, sort_keys=False)
    cells = (options.lrs, options.memorization, options.quality, options.margin, scoring)
    return hashlib.sha256(json.dumps([*cells, text]).encode()).hexdigest()[:16]


def _as_it_was(value: Any) -> Any:
    """Return a part of a config with the names and options of version 0.1."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not (k in ADDED_SINCE and v == ADDED_SINCE[k])}
        return {k: old_name(v) if k == "class_path" else _as_it_was(v) for k, v in kept.items()}
    return [_as_it_was(item) for item in value] if isinstance(value, list) else value
