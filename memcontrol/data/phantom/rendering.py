r"""From a body and a study to a picture.

A map of attenuation :math:`\mu(x, y) \geq 0` is added up from tissues, and the film darkens where
rays pass: :math:`I = (1 - e^{-g \mu})^\gamma`, with the site's gain :math:`g` and curve
:math:`\gamma`. Bone and fluid are white, air is black. Then come field of view, collimation, marker
and grain. Coordinates run from -1 to 1, x to the right and y downwards.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from memcontrol.data.phantom.anatomy import Body, Study
from memcontrol.data.phantom.sites import Site

__all__ = ["RENDERING_VERSION", "render"]

RENDERING_VERSION: Final = 1
"""Raised whenever the same seed gives another picture, so that caches notice."""

Map = NDArray[np.float64]

LETTERS: Final = {
    "L": ("X....", "X....", "X....", "X....", "X....", "X....", "XXXXX"),
    "R": ("XXXX.", "X...X", "X...X", "XXXX.", "X.X..", "X..X.", "X...X"),
}


def render(body: Body, study: Study, site: Site, size: int) -> NDArray[np.uint8]:
    """Draw one chest phantom.

    Args:
        body: Anatomy of the subject.
        study: Findings and pose.
        site: Look of the hospital.
        size: Height and width of the picture, in pixels.

    Returns:
        The picture, with shape `(size, size)`, values in [0, 255], white where rays are stopped.
    """
    x_film, y_film = _grid(size)
    x, y = _pose(x_film, y_film, study, site)
    film = (1 - np.exp(-site.gain * _attenuation(x, y, body, study))) ** site.gamma
    film = _collimate(film, x_film, y_film, site)
    film = _mark(film, site)
    rng = np.random.default_rng(study.noise_seed)
    grain = gaussian_filter(rng.normal(size=(size, size)), site.grain_size * size / 64 / 2)
    film = film + site.grain * grain / grain.std() * (0.4 + film)
    picture: NDArray[np.uint8] = np.rint(255 * np.clip(film, 0, 1)).astype(np.uint8)
    return picture


def _grid(size: int) -> tuple[Map, Map]:
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(axis, axis)
    return x, y


def _pose(x: Map, y: Map, study: Study, site: Site) -> tuple[Map, Map]:
    angle = np.deg2rad(study.tilt)
    zoom = site.zoom * (1.06 if study.view == "AP" else 1.0)
    u, v = x / zoom + study.shift[0], y / zoom + study.shift[1]
    return u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)


def _inside(distance: Map, softness: float) -> Map:
    """Soft indicator of `distance < 0`, in [0, 1]."""
    return np.asarray(0.5 * (1 - np.tanh(distance / softness)))


def _line(distance: Map, width: float) -> Map:
    return np.asarray(np.exp(-0.5 * (distance / width) ** 2))


def _attenuation(x: Map, y: Map, body: Body, study: Study) -> Map:
    torso = _torso(x, y, body)
    lungs = _lungs(x, y, body, study)
    aerated = lungs * (1 - _clouds(x, y, study)) * (1 - _fluid(x, y, body, study))
    mu = torso * body.tissue * (1.05 - 0.12 * np.abs(x))
    mu = mu * (1 - 0.8 * aerated)
    mu = mu + torso * (_heart(x, y, body, study) + _vessels(x, y, body) * lungs)
    mu = mu + torso * (_spine(x, y) + _ribs(x, y, body) + _clavicles(x, y, body, study))
    if body.sex == "F":
        mu = mu + _breasts(x, y, body)
    mu = mu - 0.35 * torso * _trachea(x, y)
    return np.maximum(mu + _devices(x, y, body, study), 0)


def _torso(x: Map, y: Map, body: Body) -> Map:
    flank = body.half_width + 0.14 + 0.05 * np.tanh((y - 0.3) * 3)
    slope = body.shoulder - 0.14 + 0.3 * np.abs(x) ** 2.2
    chest = np.maximum(np.abs(x) - flank, slope - y)
    arms = np.maximum(np.abs(np.abs(x) - 1.0 - 0.12 * y) - 0.14, slope + 0.02 - y)
    neck = np.abs(x) - 0.24 - 0.25 * np.maximum(0, y + 0.85)
    return np.maximum(np.maximum(_inside(chest, 0.05), 0.75 * _inside(arms, 0.05)), 0.8 * _inside(neck, 0.06))


def _lungs(x: Map, y: Map, body: Body, study: Study) -> Map:
    base = body.lung_base + study.inspiration
    centre = 0.5 * (body.lung_apex + base) + 0.2
    height = centre - body.lung_apex
    rise = np.clip((centre - y) / height, -1, 1)
    outer = body.half_width * (1 - 0.62 * np.maximum(rise, 0) ** 3) - 0.03 * np.maximum(-rise, 0)
    inner = body.mediastinum + 0.05 * np.maximum(0, y + 0.1) + 0.05 * np.exp(-(((y + 0.05) / 0.18) ** 2))
    wall = np.maximum(np.abs(x) - outer, inner - np.abs(x))
    middle = 0.5 * (inner + outer)
    dome = (
        base - np.where(x < 0, 0.06, 0.0) + 0.9 * (np.abs(x) - middle) ** 2 + 0.12 * np.maximum(0, np.abs(x) - middle)
    )
    apex = body.lung_apex + 0.9 * (np.abs(x) - 0.32) ** 2 - y
    return _inside(np.maximum(np.maximum(wall, y - dome), apex), 0.035)


def _clouds(x: Map, y: Map, study: Study) -> Map:
    air = np.ones_like(x)
    for cloud in study.opacities:
        phase = 40 * cloud.x + 17 * cloud.y
        ragged = 1 + 0.25 * np.sin(21 * x + phase) * np.sin(19 * y - phase)
        r2 = ((x - cloud.x) ** 2 + (0.8 * (y - cloud.y)) ** 2) / cloud.radius**2 * ragged
        air = air * (1 - cloud.density * np.exp(-(r2**1.5)))
    return 1 - air


def _fluid(x: Map, y: Map, body: Body, study: Study) -> Map:
    if study.effusion is None:
        return np.zeros_like(x)
    lateral = -x if study.effusion == "right" else x
    meniscus = 0.35 * np.maximum(0, lateral - 0.3) ** 2 * 3
    level = body.lung_base + study.inspiration - study.effusion_height - meniscus + 0.1
    return 0.9 * _inside(level - y, 0.04) * (lateral > 0)


def _heart(x: Map, y: Map, body: Body, study: Study) -> Map:
    base = body.lung_base + study.inspiration
    cx, cy = 0.34 * study.heart_size, base - 0.62 * study.heart_size - 0.02
    u = (x - cx) * np.cos(body.heart_tilt) + (y - cy) * np.sin(body.heart_tilt)
    v = -(x - cx) * np.sin(body.heart_tilt) + (y - cy) * np.cos(body.heart_tilt)
    ventricle = np.sqrt((u / study.heart_size) ** 2 + (v / (0.78 * study.heart_size)) ** 2) - 1
    knob = np.sqrt(((x - body.mediastinum) / 0.1) ** 2 + ((y + 0.32) / 0.12) ** 2) - 1
    below = _inside(base - 0.02 - y, 0.08)
    return 0.62 * _inside(ventricle, 0.14) + 0.3 * _inside(knob, 0.3) + 0.5 * below


def _vessels(x: Map, y: Map, body: Body) -> Map:
    hila = np.exp(-(((np.abs(x) - body.mediastinum - 0.09) / 0.09) ** 2 + ((y + 0.06) / 0.14) ** 2))
    out = np.hypot(np.abs(x) - 0.15, y + 0.05)
    angle = np.arctan2(y + 0.05, np.abs(x) - 0.1)
    branches = np.maximum(0, np.cos(7 * angle + 3 * out)) ** 8 * np.exp(-out / 0.28)
    return np.asarray(0.28 * hila + 0.14 * branches)


def _spine(x: Map, y: Map) -> Map:
    discs = 0.85 + 0.15 * np.cos(2 * np.pi * y / 0.13)
    return 0.3 * _inside(np.abs(x) - 0.085, 0.03) * discs


def _ribs(x: Map, y: Map, body: Body) -> Map:
    cage = _inside(np.abs(x) - body.half_width - 0.03, 0.03) * _inside(y - body.lung_base - 0.2, 0.15)
    side = np.abs(x) / body.half_width
    total = np.zeros_like(x)
    for rib in range(9):
        top = body.lung_apex + 0.02 + rib * body.rib_gap
        back = top - 0.1 + body.rib_slope * 0.9 * side**2 * (0.5 + 0.06 * rib) - 0.1 * side * (1 - side)
        front = top + 0.33 - 0.3 * side
        total += _line(y - back, 0.02) + 0.45 * _line(y - front, 0.026) * _inside(0.3 - side, 0.1)
    return body.rib_contrast * 1.25 * cage * np.minimum(total, 1.2) * _inside(0.1 - side, 0.05)


def _clavicles(x: Map, y: Map, body: Body, study: Study) -> Map:
    lift = 0.05 if study.view == "AP" else 0.0
    axis = -0.56 - lift - body.clavicle_slope * (np.abs(x) - 0.1) + 0.12 * np.sin(5 * np.abs(x))
    reach = _inside(np.abs(np.abs(x) - 0.38) - 0.3, 0.04)
    scapula = _line(np.abs(x) - body.half_width + 0.1 * (y + 0.4), 0.035) * _inside(np.abs(y + 0.3) - 0.25, 0.08)
    return 0.3 * _line(y - axis, 0.028) * reach + (0.2 if study.view == "AP" else 0.06) * scapula


def _breasts(x: Map, y: Map, body: Body) -> Map:
    r = np.sqrt(((np.abs(x) - 0.52 * body.half_width - 0.06) / 0.3) ** 2 + ((y - 0.24) / 0.27) ** 2)
    return 0.2 * body.tissue * _inside(r - 1, 0.18)


def _trachea(x: Map, y: Map) -> Map:
    return _inside(np.abs(x) - 0.04, 0.02) * _inside(y + 0.2, 0.06)


def _devices(x: Map, y: Map, body: Body, study: Study) -> Map:
    metal = np.zeros_like(x)
    if body.pacemaker:
        box = np.maximum(np.abs(x - 0.5) - 0.1, np.abs(y + 0.42) - 0.08)
        lead = np.abs(x - 0.3 + 0.22 * np.cos(3.2 * (y + 0.4))) + 0 * y
        reach = _inside(np.abs(y + 0.07) - 0.33, 0.02)
        metal = metal + 2.2 * _inside(box, 0.02) + 1.0 * _line(lead, 0.016) * reach
    if body.sternotomy:
        for wire in range(5):
            ring = np.hypot(x * 1.0, (y + 0.42 - 0.17 * wire) * 1.6) - 0.035
            metal = metal + 0.9 * _line(ring, 0.014)
    if study.tube:
        metal = metal + 0.8 * _line(x - 0.015, 0.016) * _inside(y + 0.32, 0.03)
    return metal


def _collimate(film: Map, x: Map, y: Map, site: Site) -> Map:
    if site.collimation == 0:
        return film
    edge = np.maximum(np.abs(x), np.abs(y)) - (1 - 2 * site.collimation)
    return film * _inside(edge, 0.02)


def _mark(film: Map, site: Site) -> Map:
    size = film.shape[0]
    scale = max(1, round(size / 64))
    glyph = np.array([[c == "X" for c in row] for row in LETTERS[site.marker]], dtype=float)
    if site.marker_plate:
        glyph = 1 - np.pad(glyph, 1)
    glyph = np.kron(glyph, np.ones((scale, scale)))
    top = int((site.marker_xy[1] + 1) / 2 * size - glyph.shape[0] / 2)
    left = int((site.marker_xy[0] + 1) / 2 * size - glyph.shape[1] / 2)
    rows, columns = slice(top, top + glyph.shape[0]), slice(left, left + glyph.shape[1])
    film = film.copy()
    patch = film[rows, columns]
    glyph = glyph[: patch.shape[0], : patch.shape[1]]
    film[rows, columns] = glyph if site.marker_plate else np.maximum(patch, 0.95 * glyph)
    return film
