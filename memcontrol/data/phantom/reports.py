"""Reports that say what was drawn, in the wording of the site."""

from __future__ import annotations

from typing import Final

from memcontrol.data.phantom.anatomy import Body, Study
from memcontrol.data.phantom.sites import Site

__all__ = ["findings", "report"]

ZONES: Final = {"upper": "upper zone", "middle": "mid zone", "lower": "lower zone"}


def findings(body: Body, study: Study) -> tuple[str, ...]:
    """Return the names of the findings, most urgent first; empty where there is none."""
    names = []
    if study.effusion is not None:
        names.append("Effusion")
    if study.opacities:
        names.append("Opacity")
    if study.cardiomegaly:
        names.append("Cardiomegaly")
    return tuple(names)


def report(body: Body, study: Study, site: Site) -> str:
    """Write the report of a study.

    Returns:
        One to four short sentences: view, age, sex, heart size, opacities, effusion, devices.
    """
    return {"prose": _prose, "fields": _fields, "shorthand": _shorthand}[site.wording](body, study)


def _clouds(study: Study) -> list[str]:
    places = dict.fromkeys(f"{cloud.side} {ZONES[cloud.zone]}" for cloud in study.opacities)
    return list(places)


def _devices(body: Body, study: Study) -> list[str]:
    present = {
        "pacemaker": body.pacemaker,
        "sternal wires": body.sternotomy,
        "endotracheal tube": study.tube,
    }
    return [name for name, is_present in present.items() if is_present]


def _prose(body: Body, study: Study) -> str:
    person = "woman" if body.sex == "F" else "man"
    heart = "enlarged" if study.cardiomegaly else "of normal size"
    text = f"{study.view} chest radiograph of a {body.age}-year-old {person}. The heart is {heart}."
    for place in _clouds(study):
        text += f" There is an opacity in the {place}."
    if study.effusion:
        text += f" There is a {study.effusion} pleural effusion."
    if not study.opacities and not study.effusion:
        text += " The lungs are clear."
    devices = _devices(body, study)
    return text + (f" A {' and a '.join(devices)} can be seen." if devices else "")


def _fields(body: Body, study: Study) -> str:
    sex = "female" if body.sex == "F" else "male"
    heart = "enlarged" if study.cardiomegaly else "normal"
    lungs = [f"opacity {place}" for place in _clouds(study)]
    if study.effusion:
        lungs.append(f"effusion {study.effusion}")
    devices = ", ".join(_devices(body, study)) or "none"
    return (
        f"View: {study.view}. Patient: {sex}, {body.age}. Heart: {heart}. "
        f"Lungs: {', '.join(lungs) or 'clear'}. Devices: {devices}."
    )


def _shorthand(body: Body, study: Study) -> str:
    parts = [f"CXR {study.view}, {body.age}{body.sex}"]
    if study.cardiomegaly:
        parts.append("cardiomegaly")
    parts.extend(f"consolidation {place}" for place in _clouds(study))
    if study.effusion:
        parts.append(f"{study.effusion} sided effusion")
    if len(parts) == 1:
        parts.append("no acute finding")
    parts.extend(f"{device} in situ" for device in _devices(body, study))
    return "; ".join(parts)
