"""What the functions return: folders with what lies in them, which show themselves in a notebook."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import pandas as pd

from memcontrol.audit.audited import Audited
from memcontrol.diffusion.components import Pipeline
from memcontrol.files.card import Card
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.run_folder import METRICS, SAMPLES
from memcontrol.measures.measurement import Measurement
from memcontrol.measures.score_log import read_scores
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.pipeline import load_pipeline
from memcontrol.privacy.guarantee import NO_GUARANTEE, guarantee_of
from memcontrol.reports.page import data_url

__all__ = ["AuditResult", "Run", "Scores", "StudyResult"]


def _table_of(measurements: list[Measurement]) -> pd.DataFrame:
    """Return measures with their intervals and nulls, one in a row."""
    rows = [
        {
            "measure": m.name,
            "of": m.group,
            "better": "higher" if m.higher_is_better else "lower",
            "value": m.value.value if m.value is not None else float("nan"),
            "low": m.value.low if m.value is not None else float("nan"),
            "high": m.value.high if m.value is not None else float("nan"),
            "null": m.null.value if isinstance(m.null, Interval) else m.null,
            "p": m.p,
            "note": m.note,
        }
        for m in measurements
    ]
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        folder: The folder.
    """

    folder: Path

    @property
    def card(self) -> Card:
        """What was trained, on which base, under which mask."""
        return read_checkpoint(find_checkpoint(self.folder))[0]

    @property
    def metrics(self) -> pd.DataFrame:
        """Logged numbers, one row for each step that logged some."""
        return pd.read_csv(self.folder / METRICS)

    @property
    def scores(self) -> dict[int, Scores]:
        """Measures of each scored validation, by step; of `RewardsCallback`."""
        return {scored.step: Scores(list(scored.measurements)) for scored in read_scores(self.folder)}

    def pipeline(self, scale: float | None = None) -> Pipeline:
        """Return a diffusers pipeline that draws with what was trained, see `load_pipeline`."""
        return load_pipeline(self.folder, scale=scale)

    def _repr_html_(self) -> str:
        card = self.card
        trained = f"{card.trained:,} of {card.parameters:,}" if card.trained and card.parameters else "unknown"
        facts = {
            "folder": str(self.folder),
            "base": card.public_base,
            "method": str((card.adapter or {}).get("peft_type", "none")),
            "mask": card.bits,
            "trained parameters": trained,
            "step": f"{card.step:,}",
            "proven bound": str(guarantee_of(card) or NO_GUARANTEE),
        }
        grids = sorted((self.folder / SAMPLES).glob("*.png"))
        shown = f'<img alt="samples of the last validation" src="{data_url(grids[-1].read_bytes())}">' if grids else ""
        return _facts(facts) + shown


@dataclass(frozen=True)
class Scores:
    """Measures of a model.

    Args:
        measurements: The measures.
    """

    measurements: list[Measurement]

    @property
    def table(self) -> pd.DataFrame:
        """One measure in a row: value, 95 % interval over patients, null, direction."""
        return _table_of(self.measurements)

    def __getitem__(self, name: str) -> Interval:
        """Return a measure's value with its interval.

        Raises:
            KeyError: If it was not measured, or could not be estimated.
        """
        value = next((m.value for m in self.measurements if m.name == name), None)
        if value is None:
            raise KeyError(f"{name} was not measured; there are {[m.name for m in self.measurements]}")
        return value

    def _repr_html_(self) -> str:
        return self.table.to_html(index=False, float_format="{:.4g}".format)


@dataclass(frozen=True)
class StudyResult:
    """A study's folder.

    Args:
        folder: The folder.
    """

    folder: Path

    @property
    def front(self) -> pd.DataFrame:
        """Points that no other point beats, one in a row."""
        return pd.read_csv(self.folder / "pareto.csv")

    @property
    def trials(self) -> pd.DataFrame:
        """All points of all trials."""
        return pd.read_csv(self.folder / "trials.csv")

    @property
    def best(self) -> Path | None:
        """Overlay of the picked point, for `memcontrol fit --config`; None where none was picked."""
        path = self.folder / "best.yaml"
        return path if path.is_file() else None

    @property
    def report(self) -> Path:
        """The report, a page that opens offline."""
        return self.folder / "report.html"

    def _repr_html_(self) -> str:
        facts = _facts({"folder": str(self.folder), "picked": str(self.best or "none"), "report": str(self.report)})
        return facts + str(self.front.to_html(index=False, float_format="{:.4g}".format))


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Args:
        folder: Its folder, with `report.html`, `audit.json` and `leaking.csv`.
        audited: What was found of each model.
    """

    folder: Path
    audited: list[Audited] = field(repr=False)

    @property
    def leaks(self) -> bool:
        """Whether a leak was found in any of the models; False is no proof that there is none."""
        return any(item.verdict.outcome == "leak" for item in self.audited)

    @property
    def verdicts(self) -> list[str]:
        """A sentence for each model."""
        return [item.verdict.sentence for item in self.audited]

    def scores(self, number: int = 0) -> Scores:
        """Return the measures of one of the models."""
        return Scores(self.audited[number].measurements)

    def _repr_html_(self) -> str:
        said = {item.source.name: item.verdict.sentence for item in self.audited}
        return _facts({**said, "report": str(self.folder / "report.html")})


def _facts(facts: dict[str, str]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    return f"<table>{rows}</table>"
