"""A mask: which slots of the U-Net are adapted, one bit for each named slot."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from memcontrol.errors import MaskError
from memcontrol.plain import read_plain

__all__ = ["Mask", "MaskSpec", "by_slot"]

MaskSpec = str | int | list[int] | list[str]
"""How a mask is written in a config: `all`, `none`, `[0, 1, 1]`, `bits:011`, a file, or slot names."""


def by_slot(values: Mapping[str, Any], layout: str, names: tuple[str, ...], argument: str) -> dict[str, Any]:
    """Return what is said of each slot.

    Args:
        values: Values by slot names or globs, of which the first that matches a slot counts.
        layout: Name of the slot layout.
        names: Its slot names.
        argument: Where the values stand in a config.

    Raises:
        MaskError: If a name matches no slot.

    Example:
        >>> by_slot({"up*": 2.0}, "block", ("down.0", "up.0"), "x")
        {'up.0': 2.0}
    """
    for glob in values:
        if not any(fnmatchcase(name, glob) for name in names):
            raise MaskError(
                f"Argument `{argument}` names {glob!r}, which matches no slot. Allowed are names (globs too) of these "
                f"slots.\n{Mask.parse('none', layout, names).table()}"
            )
    matching = {name: next((v for glob, v in values.items() if fnmatchcase(name, glob)), None) for name in names}
    return {name: value for name, value in matching.items() if value is not None}


@dataclass(frozen=True)
class Mask:
    """An ordered list of named slots with a bit each.

    Args:
        layout: Name of the slot layout that the names belong to.
        names: Slot names in the layout's order.
        bits: One 0 or 1 for each name; 1 means adapted.

    Raises:
        MaskError: If the lengths differ or a bit is neither 0 nor 1.
    """

    layout: str
    names: tuple[str, ...]
    bits: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check lengths and values."""
        if len(self.bits) != len(self.names):
            raise MaskError(
                f"Argument `mask` must have {len(self.names)} bits, one for each slot of the layout "
                f"`{self.layout}`, but got {len(self.bits)}.\n{self.table()}"
            )
        if any(bit not in (0, 1) for bit in self.bits):
            raise MaskError(f"Argument `mask` must consist of 0 and 1, but got {list(self.bits)}.\n{self.table()}")

    @property
    def on(self) -> tuple[str, ...]:
        """Names of the slots that are adapted."""
        return tuple(n for n, bit in zip(self.names, self.bits, strict=True) if bit)

    @property
    def bit_string(self) -> str:
        """The bits as text, e.g. `0110`."""
        return "".join(map(str, self.bits))

    @property
    def digest(self) -> str:
        """Twelve hex digits that are equal for equal layout, names and bits."""
        text = "\n".join([self.layout, *self.names, self.bit_string])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def with_bits(self, bits: tuple[int, ...]) -> Mask:
        """Return a mask over the same slots with other bits."""
        return Mask(self.layout, self.names, bits)

    def table(self) -> str:
        """Return the slots as numbered lines."""
        bits = self.bits if len(self.bits) == len(self.names) else ("?",) * len(self.names)
        rows = [f"  {i:3d}  {bit}  {n}" for i, (n, bit) in enumerate(zip(self.names, bits, strict=True))]
        return "\n".join([f"slots of the layout `{self.layout}` (number, bit, name):", *rows])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a config, a checkpoint or a journal."""
        return {"layout": self.layout, "names": list(self.names), "bits": list(self.bits)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Mask:
        """Undo `to_dict`."""
        return cls(values["layout"], tuple(values["names"]), tuple(values["bits"]))

    @classmethod
    def parse(cls, spec: MaskSpec, layout: str, names: tuple[str, ...]) -> Mask:
        """Read a mask as users write it.

        Args:
            spec: `all`, `none`, a list of 0 and 1, `bits:0110`, the path of a YAML file that holds one of
                these (alone or under `model.mask`), or slot names with globs as a list or a
                comma-separated string.
            layout: Name of the slot layout.
            names: Slot names of the layout on the U-Net at hand.

        Raises:
            MaskError: If the length is wrong, a name matches no slot, or the form is unknown.
        """
        if isinstance(spec, int):
            raise MaskError(
                f"Argument `mask` must not be a bare number, but got {spec!r} (YAML reads 0110 as the "
                f"octal number 72). Write `mask: [0, 1, ...]` or `mask: bits:01...`.\n"
                f"{cls._any(layout, names).table()}"
            )
        if isinstance(spec, str):
            return cls._parse_text(spec.strip(), layout, names)
        if all(isinstance(item, int) for item in spec):
            return cls(layout, names, tuple(int(item) for item in spec))
        return cls._from_globs([str(item) for item in spec], layout, names)

    @classmethod
    def _any(cls, layout: str, names: tuple[str, ...]) -> Mask:
        return cls(layout, names, (0,) * len(names))

    @classmethod
    def _parse_text(cls, text: str, layout: str, names: tuple[str, ...]) -> Mask:
        if text in ("all", "none"):
            return cls(layout, names, (int(text == "all"),) * len(names))
        if text.startswith("bits:"):
            digits = text.removeprefix("bits:")
            if set(digits) - {"0", "1"}:
                raise MaskError(f"Argument `mask` must have only 0 and 1 after `bits:`, but got {text!r}.")
            return cls(layout, names, tuple(map(int, digits)))
        if text and not set(text) - {"0", "1"}:
            raise MaskError(f"Argument `mask` got the digits {text!r}. Write `bits:{text}`.")
        if Path(text).suffix in (".yaml", ".yml", ".json"):
            return cls._read(Path(text), layout, names)
        return cls._from_globs([part.strip() for part in text.split(",")], layout, names)

    @classmethod
    def _read(cls, path: Path, layout: str, names: tuple[str, ...]) -> Mask:
        if not path.is_file():
            raise MaskError(f"Argument `mask` names the file {str(path)!r}, which does not exist.")
        content = read_plain(path, MaskError)
        model = content.get("model", content) if isinstance(content, dict) else {"mask": content}
        model = (model.get("init_args") or model) if isinstance(model, dict) else {}
        if not isinstance(model, dict) or not isinstance(model.get("mask"), list | str):
            raise MaskError(
                f"Argument `mask` names the file {str(path)!r}, which has no `mask` in it. Write a list "
                "of 0 and 1, or `model: {mask: [...]}`."
            )
        if model.get("slots", layout) != layout:
            raise MaskError(
                f"The mask in {str(path)!r} is for the layout `{model['slots']}`, but `model.slots` is "
                f"`{layout}`. Give the file with `--config` to take both from it."
            )
        return cls.parse(model["mask"], layout, names)

    @classmethod
    def _from_globs(cls, globs: list[str], layout: str, names: tuple[str, ...]) -> Mask:
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in names):
                raise MaskError(
                    f"Argument `mask` names {glob!r}, which matches no slot. Allowed are `all`, `none`, "
                    "a list of 0 and 1, `bits:01...`, a YAML file, or names (globs too) of these "
                    f"slots.\n{cls._any(layout, names).table()}"
                )
        bits = tuple(int(any(fnmatchcase(name, glob) for glob in globs)) for name in names)
        return cls(layout, names, bits)
