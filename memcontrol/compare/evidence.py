"""What a comparison keeps of a cell: a small file of numbers, from which tables and tests are made.

Format 2 holds, for each measure, its measurement and what its aggregator pairs by: values per image with numbered
patients, or replicates. Format 1 (until version 0.1) named them one by one, and is read into the same shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from memcontrol.errors import SearchError
from memcontrol.files.atomic import write_json
from memcontrol.measures import MEASURES, Measurement, Point
from memcontrol.measures.aggregators import Values
from memcontrol.plain import read_mapping

__all__ = ["Candidate", "CellEvidence", "Extracted"]

FORMAT: Final = 2
DIGITS: Final = 6
"""Significant digits of numbers in a file."""
OLD_MITIGATIONS: Final = ("rwa", "threshold")
"""Endings of a method's name that meant a mitigation in format 1."""


@dataclass(frozen=True)
class Candidate:
    """A validation of a run, which may be chosen.

    Args:
        lr: Learning rate.
        point: Its step, rewards of memorization and of quality (higher is better), and measures.
    """

    lr: float
    point: Point

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"lr": self.lr, **self.point.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Candidate:
        """Undo `to_dict`; in format 1 measures were called values."""
        return cls(float(values["lr"]), Point.from_dict({"measures": values.get("values"), **values}))


@dataclass(frozen=True)
class Extracted:
    """Counts of the extraction attack.

    Args:
        prompts: Attacked prompts.
        flagged: Those whose samples agree with each other.
        images: Training images that these give away.
    """

    prompts: int
    flagged: int
    images: int


@dataclass(frozen=True)
class CellEvidence:
    """A method with one seed, scored on test patients.

    Args:
        method: Name of the method.
        seed: Its seed.
        setting: Digests of all that its figures depend on beside the seed.
        chosen: Learning rate and step; empty for the untouched base.
        candidates: What these were chosen from, where this seed was the one that chose.
        trained: Trainable parameters.
        parameters: Parameters of the U-Net.
        measurements: By name.
        values: Values per image, by measure; patients are numbers, which say who belongs together.
        replicates: Replicates over patients, of measures that keep no values.
        extraction: Outcome of the extraction attack, where there was one.
        mitigates: The method that this one adds a mitigation to, or None.
    """

    method: str
    seed: int
    setting: str
    chosen: Mapping[str, float]
    candidates: Sequence[Candidate]
    trained: int
    parameters: int
    measurements: Mapping[str, Measurement]
    values: Mapping[str, Values]
    replicates: Mapping[str, np.ndarray]
    extraction: Extracted | None = None
    mitigates: str | None = None
    format: int = field(default=FORMAT)

    def write(self, path: Path) -> None:
        """Write the file whole, with six significant digits."""
        record = {
            "format": FORMAT,
            "method": self.method,
            "seed": self.seed,
            "setting": self.setting,
            "chosen": dict(self.chosen),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "trained": self.trained,
            "parameters": self.parameters,
            "measures": {name: m.to_dict() for name, m in self.measurements.items()},
            "values": {name: _values_to_dict(values) for name, values in self.values.items()},
            "replicates": {name: np.asarray(found).tolist() for name, found in self.replicates.items()},
            "extraction": vars(self.extraction) if self.extraction is not None else None,
            "mitigates": self.mitigates,
        }
        write_json(path, _rounded(record), indent=None, sort_keys=True)

    @classmethod
    def read(cls, path: Path) -> CellEvidence:
        """Read a file of either format.

        Raises:
            SearchError: If it is none, or of a newer version.
        """
        try:
            record = read_mapping(path, SearchError)
            version = int(record.get("format", 1))
            if version > FORMAT:
                raise SearchError(f"{path} has format {version}, but this version reads up to {FORMAT}.")
            return _of_format_1(record) if version == 1 else _of_format_2(record)
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise SearchError(f"{path} holds no evidence of a comparison: {error!r}. Remove it.") from error

    def replicates_of(self, name: str, seed: int) -> np.ndarray | None:
        """Return the replicates of a measure over patients, or None where nothing was kept to make them from.

        Args:
            name: The measure.
            seed: Seed of the comparison's scoring; replicates of one seed are paired.
        """
        if name in self.replicates:
            return np.asarray(self.replicates[name])
        if name in self.values and name in MEASURES:
            return MEASURES[name].aggregator.replicates(self.values[name], seed)
        return None


def _of_format_2(record: Mapping[str, Any]) -> CellEvidence:
    extraction = record["extraction"]
    return CellEvidence(
        **_shared(record),
        values={name: _values_from_dict(values) for name, values in record["values"].items()},
        replicates={name: np.array(found) for name, found in record["replicates"].items()},
        extraction=Extracted(**extraction) if extraction else None,
        mitigates=record["mitigates"],
    )


def _of_format_1(record: Mapping[str, Any]) -> CellEvidence:
    images, extraction = record["images"], record.get("extraction")
    members, others = -torch.tensor(images["member_loss"]).double(), -torch.tensor(images["other_loss"]).double()
    stem, _, suffix = record["method"].rpartition("_")
    return CellEvidence(
        **_shared(record),
        values={
            "membership_auc": Values(
                members, list(map(str, images["member_patient"])), others, list(map(str, images["other_patient"]))
            )
        },
        replicates={name: np.array(found) for name, found in record["draws"].items()},
        extraction=Extracted(**extraction) if extraction else None,
        mitigates=stem if stem and suffix in OLD_MITIGATIONS else None,
        format=1,
    )


def _shared(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "method": record["method"],
        "seed": int(record["seed"]),
        "setting": record.get("setting", ""),
        "chosen": record["chosen"],
        "candidates": tuple(Candidate.from_dict(values) for values in record["candidates"]),
        "trained": int(record["trained"]),
        "parameters": int(record["parameters"]),
        "measurements": {name: Measurement.from_dict(values) for name, values in record["measures"].items()},
    }


def _values_to_dict(values: Values) -> dict[str, Any]:
    found = {"inside": values.inside.tolist(), "patients": _numbered(values.patients)}
    if values.outside is not None:
        found |= {"outside": values.outside.tolist(), "outside_patients": _numbered(values.outside_patients)}
    return found


def _values_from_dict(values: Mapping[str, Any]) -> Values:
    outside = torch.tensor(values["outside"]).double() if "outside" in values else None
    return Values(
        torch.tensor(values["inside"]).double(),
        list(map(str, values["patients"])),
        outside,
        list(map(str, values.get("outside_patients", ()))),
    )


def _numbered(patients: Iterable[str]) -> list[int]:
    """Number patients in order of appearance: numbers only, which say who belongs together."""
    seen: dict[str, int] = {}
    return [seen.setdefault(name, len(seen)) for name in patients]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
