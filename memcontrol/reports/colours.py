"""Colours that mean the same in every figure, and that the colour-blind tell apart (Okabe and Ito, 2008)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["BASE", "CHOSEN", "DRAWN", "FRONT", "HELD_OUT", "OTHERS", "method_colour"]

BLUE: Final = "#0072b2"
GREEN: Final = "#009e73"
GREY: Final = "#8a949e"
ORANGE: Final = "#e69f00"
PURPLE: Final = "#aa3377"
RED: Final = "#d55e00"
SKY: Final = "#56b4e9"

FRONT: Final = BLUE
"""Points that no other beats."""
CHOSEN: Final = RED
"""The point that was picked, or lies within a bound."""
OTHERS: Final = GREY
"""All else, behind what matters."""
DRAWN: Final = RED
"""What a model drew."""
HELD_OUT: Final = BLUE
"""Real images that were not trained on."""
BASE: Final = GREY
"""The untouched base."""

FAMILIES: Final = {
    "base": BASE,
    "full": RED,
    "attention": ORANGE,
    "lora": BLUE,
    "svdiff": PURPLE,
    "difffit": GREEN,
    "selective": SKY,
    "bias": "#999933",
    "norm": "#882255",
    "wide": "#332288",
}
"""Colour of each method, by the word that its name begins with."""
SPARE: Final = ("#44aa99", "#ddcc77", "#117733", "#88ccee", "#cc6677")


def method_colour(name: str) -> str:
    """Return the colour of a method: all that begin with the same word (`lora_r4`, `lora_r16`) share theirs.

    Example:
        >>> method_colour("lora_r4") == method_colour("lora_r16_found") != method_colour("svdiff")
        True
    """
    family = re.split("[_ ]", name)[0]
    return FAMILIES.get(family) or SPARE[sum(family.encode()) % len(SPARE)]
