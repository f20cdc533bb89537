"""DICOM files: pixels as their display shows them, and nothing of their headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from memcontrol.data.cache import CacheOptions
from memcontrol.data.check import examine
from memcontrol.data.dicom import patient_digest
from memcontrol.data.files import ImageFilesDataModule
from memcontrol.data.images import Transform
from memcontrol.data.readers import FileReader, Levels, levels_of

RAMP = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8).repeat(2, axis=0).repeat(2, axis=1)


def write_dicom(path: Path, values: np.ndarray = RAMP, patient: str = "SECRET^PATIENT", **fields) -> Path:
    """Write a small radiograph."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.PatientID, dataset.PatientName = patient, "Doe^Jane"
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    for name, value in fields.items():
        setattr(dataset, name, value)
    dataset.PixelData = values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def grey(path: Path, levels: Levels | None = None) -> np.ndarray:
    return np.asarray(FileReader(levels).read(str(path)))[..., 0].astype(int)


def test_a_window_says_what_is_black_and_white(tmp_path):
    shown = grey(write_dicom(tmp_path / "a.dcm", WindowCenter=1024, WindowWidth=1024))
    assert (shown[RAMP <= 512] == 0).all()
    assert (shown[RAMP >= 1536] == 255).all()
    middle = shown[(RAMP > 960) & (RAMP < 1088)]
    assert abs(middle - 128).max() <= 8


def test_without_a_window_all_files_share_one_range(tmp_path):
    path = write_dicom(tmp_path / "a.dcm")
    look = FileReader().look(str(path))
    assert look.deep == (0.0, 4032.0, True)
    levels = levels_of([look.deep])
    np.testing.assert_array_equal(grey(path, levels), np.rint(255 * (RAMP / 4095)))


def test_monochrome1_is_turned_and_rescaled_values_are_meant(tmp_path):
    plain = grey(write_dicom(tmp_path / "a.dcm", WindowCenter=1024, WindowWidth=1024))
    turned = write_dicom(
        tmp_path / "b.dcm", WindowCenter=1024, WindowWidth=1024, PhotometricInterpretation="MONOCHROME1"
    )
    np.testing.assert_array_equal(grey(turned), 255 - plain)
    scaled = write_dicom(
        tmp_path / "c.dcm", WindowCenter=2 * 1024 - 1000, WindowWidth=2048, RescaleSlope=2, RescaleIntercept=-1000
    )
    assert abs(grey(scaled) - plain).max() <= 1
    bare = write_dicom(tmp_path / "d.dcm", PhotometricInterpretation="MONOCHROME1")
    levels = Levels(0, 4095)
    np.testing.assert_array_equal(grey(bare, levels), 255 - np.rint(255 * (RAMP / 4095)))


def test_padding_does_not_stretch_the_range(tmp_path):
    values = RAMP.copy()
    values[values < 1000] = 0
    path = write_dicom(tmp_path / "a.dcm", values, PixelPaddingValue=0)
    assert FileReader().look(str(path)).deep == (1024.0, 4032.0, True)


@pytest.mark.parametrize(
    ("fields", "values", "said"),
    [
        ({"NumberOfFrames": 2}, np.stack([RAMP, RAMP]), "2 frames in one DICOM file"),
        ({"Rows": 60000, "Columns": 60000}, RAMP, "more than 150 million pixels"),
        ({}, np.full_like(RAMP, 7), "one value in all pixels"),
    ],
)
def test_what_is_no_single_picture_is_said(tmp_path, fields, values, said):
    assert FileReader().look(str(write_dicom(tmp_path / "a.dcm", values, **fields))).problem == said


@pytest.mark.whole
def test_every_file_that_pydicom_ships_is_read_or_refused_by_name():
    seen = {"read": 0, "refused": 0}
    for path in get_testdata_files("*.dcm"):
        look = examine(path, FileReader())
        if look.problem:
            seen["refused"] += 1
            continue
        image = FileReader().read(path)
        assert image.mode == "RGB"
        assert image.size == look.size
        assert not image.info
        seen["read"] += 1
    assert seen["read"] >= 30
    assert seen["refused"] >= 10


def test_colours_stay_what_they_are():
    path = next(path for path in get_testdata_files("SC_rgb_rle.dcm"))
    expected = pydicom.dcmread(path).pixel_array
    np.testing.assert_array_equal(np.asarray(FileReader().read(path)), expected)


def test_a_folder_of_files_is_split_by_patient_and_keeps_no_header(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(24):
        values = rng.integers(0, 4096, (16, 16), dtype=np.uint16)
        path = write_dicom(tmp_path / "xrays" / f"{number}.dcm", values, patient=f"PAT{number // 2:04d}")
        path.with_suffix(".txt").write_text(f"finding {number}")
    (tmp_path / "xrays" / "5.dcm").rename(tmp_path / "xrays" / "IM0005")  # as discs name them
    (tmp_path / "xrays" / "5.txt").rename(tmp_path / "xrays" / "IM0005.txt")
    cache = CacheOptions(folder=str(tmp_path / "cache"))
    data = ImageFilesDataModule(str(tmp_path / "xrays"), patients="dicom", transform=Transform(size=16), cache=cache)
    data.setup("fit")
    tables = [data.table(split) for split in ("train", "validate", "test")]
    assert sum(map(len, tables)) == 24
    subjects = [set(table["subject_id"]) for table in tables]
    assert sum(map(len, subjects)) == len(set.union(*subjects)) == 12
    assert not any("PAT" in subject for subject in set.union(*subjects))
    assert "finding 5" in {text for table in tables for text in table["text"]}
    kept = b"".join(path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert b"PAT00" not in kept
    assert b"Doe" not in kept


def test_a_patient_is_known_by_number_and_issuer(tmp_path):
    first = patient_digest(write_dicom(tmp_path / "a.dcm", patient="7"))
    assert first == patient_digest(write_dicom(tmp_path / "b.dcm", patient="7"))
    assert first != patient_digest(write_dicom(tmp_path / "c.dcm", patient="7", IssuerOfPatientID="other"))
    assert patient_digest(write_dicom(tmp_path / "d.dcm", patient="")) == ""


@pytest.mark.parametrize(
    "window", [{"WindowCenter": None, "WindowWidth": None}, {"WindowCenter": 10, "WindowWidth": 0}]
)
def test_a_window_that_was_blanked_is_none(tmp_path, window):
    path = write_dicom(tmp_path / "a.dcm", **window)
    assert FileReader().look(str(path)).deep == (0.0, 4032.0, True)


def test_padding_is_black_also_where_small_values_are_white(tmp_path):
    values = RAMP.copy()
    values[:2] = 4095
    fields = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 4095}
    assert (grey(write_dicom(tmp_path / "a.dcm", values, WindowCenter=2048, WindowWidth=4096, **fields))[:2] < 8).all()
    assert (grey(write_dicom(tmp_path / "b.dcm", values, **fields), Levels(0, 4095))[:2] < 8).all()


def test_a_deflated_file_is_not_unpacked(tmp_path, monkeypatch):
    path = next(iter(get_testdata_files("image_dfl.dcm")))
    monkeypatch.setattr("zlib.decompress", lambda *_: pytest.fail("was unpacked"))
    assert "deflated" in FileReader().look(path).problem
    assert patient_digest(path) == ""
