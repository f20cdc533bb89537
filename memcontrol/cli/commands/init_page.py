"""The page that `init` writes beside its config: what is in a folder, and what an audit of it will be able to find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.splits import SPLITS
from memcontrol.measures.forecast import Forecast, forecast
from memcontrol.reports.data_plots import counts_plot, power_plot
from memcontrol.reports.page import write_page
from memcontrol.reports.plots import Plot

__all__ = ["write_overview"]

HELD_OUT = (20, 30, 50, 80, 120, 200, 350, 600, 1000)
"""Numbers of held-out patients that the power is shown for."""
MOST = 50
"""Images of one patient, or words of a caption, beyond which a plot counts them as so many."""


def write_overview(
    path: Path, said: str, data: CaptionedImageDataModule, found: Forecast, findings: Sequence[str], config: str
) -> Path:
    """Write the page.

    Args:
        path: The file.
        said: What the folder is.
        data: Its images, set up.
        found: What an audit will be able to find.
        findings: What was found, a sentence each, without names of files.
        config: Name of the config.

    Returns:
        The file.
    """
    tables = {split: data.datasets[split].table for split in SPLITS}
    people = [count for table in tables.values() for count in table["subject_id"].value_counts()]
    words = [len(text.split()) for split in SPLITS for text in data.datasets[split].all_texts()]
    return write_page(
        path,
        "data.html",
        has_plots=True,
        title="Images",
        said=said,
        is_enough=found.is_enough,
        forecast=found.lines(),
        splits={
            "columns": ["split", "images", "patients"],
            "rows": [(split, len(table), table["subject_id"].nunique()) for split, table in tables.items()],
        },
        findings=findings,
        next=[
            f"Train: `memcontrol fit --config {config}`",
            f"Search: `memcontrol search --config {config} --config search/cxr.yaml --config search/wide.yaml`",
            f"Audit: `memcontrol audit --config {config} --ckpt_path RUN_FOLDER`",
        ],
        plots=[
            _counts("images", "Images of each patient", people, "images", "patients"),
            _counts("words", "Length of captions", words, "words", "images"),
            _power(found),
        ],
    )  # fmt: skip


def _counts(name: str, title: str, values: Sequence[int], x: str, y: str) -> Plot:
    note = f"{MOST} stands for that many and more." if max(values) > MOST else ""
    return counts_plot(name, title, [min(value, MOST) for value in values], x, y, note)


def _power(found: Forecast) -> Plot:
    at = sorted({*HELD_OUT, found.heldout})
    each = [forecast(found.training, number, found.are_alike) for number in at]
    return power_plot(at, [f.area for f in each], [f.share for f in each], found.heldout)
