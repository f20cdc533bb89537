"""Sites: the hospitals that phantoms come from, each with its own look and wording.

A fine-tuned model is tested on a site that its base has never seen, so sites differ in what a
scanner and a department change (exposure, grain, field of view, markers, phrases) and share what
a body is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["SITES", "Site", "Wording", "site_named"]

Wording = Literal["prose", "fields", "shorthand"]


@dataclass(frozen=True)
class Site:
    """The look and the language of one hospital.

    Args:
        name: Name of the site, as it appears in subject ids.
        ap_fraction: Share of anteroposterior (bedside) images, in [0, 1].
        gain: Exposure: how fast tissue turns white; larger is whiter.
        gamma: Exponent of the display curve; over 1 darkens the lungs.
        grain: Standard deviation of the detector noise, in grey levels of [0, 1].
        grain_size: Width of a grain at 64 px, in pixels.
        zoom: Field of view; over 1 shows less of the body.
        collimation: Width of the black border on each side, as a share of the image, in [0, 0.5).
        tilt_deg: Standard deviation of the rotation on the table, in degrees.
        marker: Letter burnt into the image.
        marker_xy: Centre of the marker, in [-1, 1] from left to right and from top to bottom.
        marker_plate: Whether the letter is dark on a bright plate instead of bright.
        wording: Which of the three report styles is used.
    """

    name: str
    ap_fraction: float
    gain: float
    gamma: float
    grain: float
    grain_size: float
    zoom: float
    collimation: float
    tilt_deg: float
    marker: Literal["L", "R"]
    marker_xy: tuple[float, float]
    marker_plate: bool
    wording: Wording


SITES: Final[tuple[Site, ...]] = (
    Site("A", 0.25, 1.45, 1.05, 0.012, 1.0, 1.0, 0.0, 1.0, "L", (0.84, -0.82), False, "prose"),
    Site("B", 0.75, 1.55, 0.95, 0.02, 1.6, 1.18, 0.0, 3.0, "R", (-0.82, -0.8), False, "fields"),
    Site("C", 0.45, 1.15, 1.5, 0.022, 0.7, 0.9, 0.09, 2.0, "L", (0.66, 0.66), True, "shorthand"),
)


def site_named(name: str) -> Site:
    """Return the site with the given name.

    Raises:
        ValueError: If there is no such site.
    """
    for site in SITES:
        if site.name == name:
            return site
    names = ", ".join(site.name for site in SITES)
    raise ValueError(f"Argument `sites` must name sites of [{names}], but got {name!r}.")
