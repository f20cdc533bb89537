"""From the name of a trained parameter back to the unit it belongs to."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["unit_of"]

COPY: Final = re.compile(r"(?P<owner>.+)\.(?:selective|difffit)_(?P<key>weight|bias)\.")


def unit_of(parameter: str) -> str:
    """Return the module or parameter of the base that a trained parameter adapts.

    Args:
        parameter: Name in the adapted U-Net, e.g. `conv_in.svdiff_shift.default`.

    Example:
        >>> unit_of("conv_in.svdiff_shift.default")
        'conv_in'
        >>> unit_of("conv_in.difffit_bias.default")
        'conv_in.bias'
        >>> unit_of("mid_block.attentions.0.proj_in.lora_A.default.weight")
        'mid_block.attentions.0.proj_in'
    """
    copy = COPY.match(parameter)
    if copy:
        return f"{copy['owner']}.{copy['key']}"
    parts = parameter.split(".")
    at = parts.index("default")
    return ".".join(parts[: at - 1])
