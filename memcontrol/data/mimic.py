"""MIMIC-CXR-JPG in its official layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.reports import LeaveOut, read_reports, without
from memcontrol.data.tables import need_columns, read_table, tidy, with_numbers
from memcontrol.errors import DataError
from memcontrol.files import worker_cache

__all__ = ["MimicCxrDataModule"]

KEYS: Final = ["dicom_id", "study_id", "subject_id"]
FINDINGS_FILE: Final = "mimic-cxr-2.0.0-chexpert.csv.gz"
SPLIT_FILE: Final = "mimic-cxr-2.0.0-split.csv.gz"
METADATA_FILE: Final = "mimic-cxr-2.0.0-metadata.csv.gz"


class MimicCxrDataModule(CaptionedImageDataModule):
    """Chest X-rays of MIMIC-CXR-JPG with a section of their reports, in the official splits.

    Args:
        root: Folder of MIMIC-CXR-JPG, with `files/` and the split, metadata and chexpert csv.gz.
        reports: `mimic-cxr-reports.zip` of PhysioNet's MIMIC-CXR, the folder that it unpacks to, or the csv of sections
            that MIT-LCP's mimic-code makes (columns study, impression, findings, last_paragraph, comparison).
        views: View positions to keep.
        section: Section of the report that becomes the caption.
        fallback_section: Section used where the first is empty, or null to leave such studies out.
        leave_out: What of a section no image shows: `placeholders`, sentences with `___`, which stand for what was
            taken out of the reports; `comparisons`, sentences about other studies ("compared to the previous ...").
            A study of which nothing is left is left out.
        kwargs: See `CaptionedImageDataModule`.

    Raises:
        DataError: If a folder, table or column is missing, or no image is left.

    References:
        Johnson et al., "MIMIC-CXR-JPG, a large publicly available database of labeled chest radiographs", 2019,
        https://arxiv.org/abs/1901.07042.
    """

    def __init__(
        self,
        root: str,
        reports: str,
        views: list[str] = ["PA", "AP"],  # noqa: B006 - a default that YAML can show
        section: Literal["impression", "findings", "last_paragraph"] = "impression",
        fallback_section: Literal["impression", "findings", "last_paragraph"] | None = "findings",
        leave_out: list[LeaveOut] = [],  # noqa: B006 - a default that YAML can show
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self.reports = Path(reports).expanduser()
        self.views = views
        self.section = section
        self.fallback_section = fallback_section
        self.leave_out = leave_out

    def rows(self) -> pd.DataFrame:
        """Join images, views, splits, reports and findings."""
        if not (self.root / "files").is_dir():
            raise DataError(
                f"Argument `root` must be the folder of MIMIC-CXR-JPG (with files/p10/...), but {str(self.root)!r} "
                "is not. Give yours with `--data.root FOLDER`."
            )
        splits = self._read(SPLIT_FILE, [*KEYS, "split"])
        metadata = self._read(METADATA_FILE, [*KEYS, "ViewPosition"])
        table = splits.merge(metadata[[*KEYS, "ViewPosition"]], on=KEYS)
        known = sorted(table["ViewPosition"].dropna().unique())
        table = table[table["ViewPosition"].isin(self.views)]
        if table.empty:
            raise DataError(f"Argument `views` is {self.views}, but the images have {known}.")
        table = table.merge(self._captions(), on="study_id").merge(self._labels(), on="study_id", how="left")
        if table.empty:
            raise DataError(f"No study of {str(self.root)!r} has a report in {str(self.reports)!r}.")
        return pd.DataFrame(
            {
                "path": self._paths(table),
                "text": table["text"],
                "subject_id": table["subject_id"].astype(str),
                "label": table["label"].fillna("Unlabelled"),
                "view": table["ViewPosition"],
                "split": table["split"],
            }
        )

    def _read(self, name: str, columns: list[str]) -> pd.DataFrame:
        path = next((p for p in (self.root / name, self.root / name.removesuffix(".gz")) if p.is_file()), None)
        if path is None:
            raise DataError(f"Argument `root` is {str(self.root)!r}, which lacks {name} of MIMIC-CXR-JPG.")
        table = read_table(path, "root")
        need_columns(table, columns, path)
        keys = pd.DataFrame({key: self._key(key, table[key], path) for key in KEYS if key in table})
        return pd.concat([keys, with_numbers(table.drop(columns=list(keys)))], axis=1)

    def _key(self, key: str, values: pd.Series, path: Path) -> pd.Series:
        """Return ids as MIMIC-CXR has them, of which paths are made."""
        ids = tidy(values).str.removeprefix({"study_id": "s", "subject_id": "p"}.get(key, ""))
        wrong = ~ids.str.fullmatch(r"[0-9A-Za-z-]+" if key == "dicom_id" else r"\d{1,12}")
        if wrong.any():
            raise DataError(
                f"The table {str(path)!r} has {int(wrong.sum())} rows whose `{key}` is none of MIMIC-CXR's, first of "
                f"all {ids[wrong].iat[0]!r}. Take the table as PhysioNet gives it."
            )
        return ids if key == "dicom_id" else ids.astype(int)

    def _captions(self) -> pd.DataFrame:
        # a worker reads the reports in its first job only
        table = worker_cache.cached(("reports", str(self.reports)), lambda: read_reports(self.reports))
        if (table[self.section] == "").all():
            filled = [name for name in ("impression", "findings", "last_paragraph") if (table[name] != "").any()]
            raise DataError(
                f"Argument `section` is {self.section!r}, which no report in {str(self.reports)!r} has. They have "
                f"{filled}."
            )
        text = table[self.section]
        if self.fallback_section is not None:
            text = text.where(text != "", table[self.fallback_section])
        if self.leave_out:
            text = text.map(lambda section: without(section, self.leave_out))
        captions = pd.DataFrame({"study_id": table["study"], "text": text})
        return captions[captions["text"] != ""]

    def _labels(self) -> pd.DataFrame:
        table = self._read(FINDINGS_FILE, ["study_id"])
        names = [c for c in table.columns if c not in ("study_id", "subject_id")]
        positive = table[names].eq(1.0)
        label = positive.idxmax(axis=1).where(positive.any(axis=1), "Unlabelled")
        return pd.DataFrame({"study_id": table["study_id"], "label": label})

    def _paths(self, table: pd.DataFrame) -> pd.Series:
        patient = "p" + table["subject_id"].astype(str)
        study = "s" + table["study_id"].astype(str)
        return (
            f"{self.root / 'files'}/" + patient.str[:3] + "/" + patient + "/" + study + "/" + table["dicom_id"] + ".jpg"
        )
