"""What is in a phantom: the body of a subject and the findings of one of its studies.

A subject's body is drawn from `(seed, site, subject)` alone and its studies from
`(seed, site, subject, study)`, so any image can be made without the ones before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from memcontrol.data.phantom.sites import Site

__all__ = ["Body", "Opacity", "Study", "make_body", "make_study"]

View = Literal["PA", "AP"]
Side = Literal["right", "left"]


@dataclass(frozen=True)
class Body:
    """Anatomy of one subject, in units of half an image width.

    The patient's left lies on the right of the image, as radiologists see it.
    """

    age: int
    sex: Literal["M", "F"]
    half_width: float
    lung_apex: float
    lung_base: float
    mediastinum: float
    heart_size: float
    heart_tilt: float
    rib_gap: float
    rib_slope: float
    rib_contrast: float
    clavicle_slope: float
    shoulder: float
    tissue: float
    pacemaker: bool
    sternotomy: bool


@dataclass(frozen=True)
class Opacity:
    """A cloud in one lung: side, zone, centre, size and strength."""

    side: Side
    zone: Literal["upper", "middle", "lower"]
    x: float
    y: float
    radius: float
    density: float


@dataclass(frozen=True)
class Study:
    """One visit of a subject: view, findings, devices, and how the patient stood."""

    view: View
    opacities: tuple[Opacity, ...]
    effusion: Side | None
    effusion_height: float
    tube: bool
    heart_size: float
    inspiration: float
    tilt: float
    shift: tuple[float, float]
    noise_seed: int

    @property
    def cardiomegaly(self) -> bool:
        """Whether the heart counts as enlarged (AP images magnify it)."""
        return self.heart_size > 0.41


def make_body(seed: int, site: Site, subject: int) -> Body:
    """Draw the anatomy of a subject.

    Args:
        seed: Seed of the data set.
        site: Site of the subject.
        subject: Number of the subject within its site.
    """
    rng = np.random.default_rng([seed, ord(site.name[0]), subject])
    age = int(np.clip(rng.normal(58, 17), 18, 95))
    sex: Literal["M", "F"] = "F" if rng.random() < 0.47 else "M"
    slim = -0.04 if sex == "F" else 0.0
    return Body(
        age=age,
        sex=sex,
        half_width=0.74 + slim + rng.normal(0, 0.04),
        lung_apex=-0.68 + rng.normal(0, 0.035),
        lung_base=0.46 + rng.normal(0, 0.05),
        mediastinum=0.12 + 0.0006 * (age - 55) + rng.normal(0, 0.015),
        heart_size=0.345 + 0.0008 * (age - 55) + rng.gamma(1.5, 0.025),
        heart_tilt=0.6 + rng.normal(0, 0.12),
        rib_gap=0.15 + rng.normal(0, 0.012),
        rib_slope=0.42 + rng.normal(0, 0.07),
        rib_contrast=float(np.clip(0.15 - 0.0008 * (age - 55) + rng.normal(0, 0.03), 0.05, 0.3)),
        clavicle_slope=0.2 + rng.normal(0, 0.08),
        shoulder=-0.66 + rng.normal(0, 0.05),
        tissue=float(np.clip(1 + rng.normal(0, 0.16), 0.65, 1.5)),
        pacemaker=bool(rng.random() < 0.12),
        sternotomy=bool(rng.random() < 0.1),
    )


def make_study(seed: int, site: Site, subject: int, study: int, body: Body) -> Study:
    """Draw the findings and the pose of one study of a subject.

    Args:
        seed: Seed of the data set.
        site: Site of the subject.
        subject: Number of the subject within its site.
        study: Number of the study within the subject.
        body: Anatomy of the subject, as `make_body` returns it.
    """
    rng = np.random.default_rng([seed, ord(site.name[0]), subject, 1 + study])
    view: View = "AP" if rng.random() < site.ap_fraction else "PA"
    num_opacities = int(rng.choice([0, 1, 2], p=[0.5, 0.35, 0.15]))
    effusion: Side | None = None
    if rng.random() < 0.22:
        effusion = "left" if rng.random() < 0.5 else "right"
    return Study(
        view=view,
        opacities=tuple(_make_opacity(rng, body) for _ in range(num_opacities)),
        effusion=effusion,
        effusion_height=float(rng.uniform(0.12, 0.4)),
        tube=bool(view == "AP" and rng.random() < 0.3),
        heart_size=body.heart_size * (1.08 if view == "AP" else 1.0) + rng.normal(0, 0.006),
        inspiration=(-0.1 if view == "AP" else 0.0) + rng.normal(0, 0.03),
        tilt=float(rng.normal(0, site.tilt_deg)),
        shift=(float(rng.normal(0, 0.035)), float(rng.normal(0, 0.035))),
        noise_seed=int(rng.integers(2**31)),
    )


def _make_opacity(rng: np.random.Generator, body: Body) -> Opacity:
    side: Side = "right" if rng.random() < 0.5 else "left"
    zones: tuple[Literal["upper", "middle", "lower"], ...] = ("upper", "middle", "lower")
    zone = zones[int(rng.choice(3, p=[0.25, 0.3, 0.45]))]
    heights = {"upper": -0.42, "middle": -0.12, "lower": 0.2}
    sign = -1.0 if side == "right" else 1.0
    return Opacity(
        side=side,
        zone=zone,
        x=sign * (body.half_width * 0.55 + rng.normal(0, 0.05)),
        y=heights[zone] + rng.normal(0, 0.04),
        radius=float(rng.uniform(0.14, 0.26)),
        density=float(rng.uniform(0.6, 0.95)),
    )
