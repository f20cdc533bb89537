"""Images as others hand them over: DICOM files, tar shards, datasets on disk, texts beside images, reports.

Like `hostile_files`, whose ways to spoil a file it shares; `init` reads what is left, as training would.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.memcontrol.data.test_dicom import write_dicom
from tests.memcontrol.data.test_reports import write_reports
from tests.memcontrol.data.test_sources import make_mimic
from tests.security import hostile_files
from tests.security.hostile_configs import write_pickle
from tests.security.hostile_files import Spoil, encoded, folder, half, harm, in_json, link, pipe, png, text

__all__ = ["cases", "harm", "lay_out"]

COUNT = 60
DCM, SHARD, TXT, INFO = "in/IM0000", "in/xrays-0.tar", "in/0.txt", "in/dataset_info.json"
STATE, ZIP = "in/state.json", "in/mimic-cxr-reports.zip"
ARROW = "in/data-00000-of-00001.arrow"
FACTS = b'{"subject_id": 1, "text": "x"}'
PICKLE = b"cos\nsystem\n(S'touch ../canaries/ran'\ntR."


def pixels(number: int) -> np.ndarray:
    """Return a small picture."""
    return np.random.default_rng(number).integers(0, 255, (48, 48), dtype=np.uint8)


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return a file of an archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def write_shard(path: Path, *further: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> None:
    """Write a shard of pictures with their facts, and what else is given before them."""
    with tarfile.open(path, mode) as archive:
        for info, content in further:
            archive.addfile(info, io.BytesIO(content))
        for i in range(COUNT):
            facts = json.dumps({"subject_id": i // 2, "text": f"image {i}"}).encode()
            for info, content in (member(f"{i}.png", encoded(pixels(i), "PNG")), member(f"{i}.json", facts)):
                archive.addfile(info, io.BytesIO(content))


def shard(*further: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Spoil:
    """Write the shard anew, with files before the good ones."""
    return lambda room, *_: write_shard(room / SHARD, *further, mode=mode)


def dicom(change: Callable[[Any], Any]) -> Spoil:
    """Change the first DICOM file."""

    def spoil(room: Path, *_: Any) -> None:
        from pydicom import dcmread

        found = dcmread(room / DCM)
        change(found)
        found.save_as(room / DCM)

    return spoil


def field(**values: Any) -> Spoil:
    """Set fields of the first DICOM file."""
    return dicom(lambda found: [setattr(found, name, value) for name, value in values.items()])


def syntax(uid: str) -> Callable[[Any], Any]:
    """Say that the pixels of a DICOM file are written in some way."""
    return lambda found: setattr(found.file_meta, "TransferSyntaxUID", uid)


def jpeg_2000(found: Any) -> None:
    """Say that the pixels of a DICOM file are JPEG 2000, which they are not."""
    from pydicom.encaps import encapsulate

    found.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
    found.PixelData = encapsulate([b"hello"])


def reports(write: Callable[[zipfile.ZipFile], Any]) -> Spoil:
    """Write another archive of reports."""

    def spoil(room: Path, *_: Any) -> None:
        with zipfile.ZipFile(room / ZIP, "w", zipfile.ZIP_DEFLATED) as archive:
            write(archive)

    return spoil


def lay_good(room: Path, kind: str) -> list[str]:
    """Write good files of a kind, and return what `init` is told besides."""
    root = room / "in"
    root.mkdir()
    if kind == "dicom":
        for i in range(COUNT):
            write_dicom(root / f"IM{i:04d}", pixels(i).astype(np.uint16), patient=f"P{i // 2}")
        return ["--caption", "chest X-ray"]
    if kind == "shards":
        write_shard(root / "xrays-0.tar")
        return []
    if kind == "dataset":
        import datasets

        rows = {
            "image": [encoded(pixels(i), "PNG") for i in range(COUNT)],
            "text": [f"image {i}" for i in range(COUNT)],
        }
        rows["subject_id"] = [i // 2 for i in range(COUNT)]
        images = {"image": [{"bytes": content, "path": None} for content in rows["image"]]}
        made = datasets.Dataset.from_dict({**rows, **images}).cast_column("image", datasets.Image())
        made.save_to_disk(root)
        return []
    if kind == "texts":
        for i in range(COUNT):
            (root / f"{i}.png").write_bytes(encoded(pixels(i), "PNG"))
            (root / f"{i}.txt").write_text(f"image {i}")
        return ["--patients", "none"]
    make_mimic(root, num_studies=24, num_held=12)
    (root / "mimic_cxr_sectioned.csv").unlink()
    shutil.move(write_reports(room, "zip", number=24), root / "mimic-cxr-reports.zip")
    return []


KINDS: dict[str, dict[str, Spoil]] = {
    "dicom": {
        "half of it": half(DCM),
        "empty": text(DCM, ""),
        "text behind a preamble": text(DCM, bytes(128) + b"DICM" + b"hello"),
        "a length that lies": text(DCM, bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\xff\xff\xff\xff" + b"\xe0\x7f\x10"
            b"\x00OW\x00\x00\xff\xff\xff\x7f"),
        "rows of a city": field(Rows=60000, Columns=60000),
        "no rows": field(Rows=0),
        "rows of text": dicom(lambda found: found.add_new(0x00280010, "LO", "evil")),
        "frames without end": field(NumberOfFrames="2147483647"),
        "a window of nothing": field(WindowCenter="0", WindowWidth="0"),
        "a window of text": dicom(lambda found: found.add_new(0x00281050, "LO", "evil")),
        "a slope that is no number": dicom(lambda found: found.add_new(0x00281053, "LO", "nan")),
        "an infinite slope": field(RescaleSlope="1e308", RescaleIntercept="1e308"),
        "bits beyond its words": field(BitsStored=64, HighBit=63),
        "no pixels": dicom(lambda found: found.pop("PixelData")),
        "fewer pixels": dicom(lambda found: setattr(found, "PixelData", found.PixelData[:10])),
        "an unknown syntax": dicom(syntax("1.2.3")),
        "JPEG 2000 of text": dicom(jpeg_2000),
        "a patient that leads out": field(PatientID="../../canaries/x"),
        "a patient of a page": field(PatientID="<script>alert(1)</script>"),
        "a patient without end": field(PatientID="x" * 60000),
        "no patient": dicom(lambda found: found.pop("PatientID")),
        "a caption of a page": field(StudyDescription="<script>alert(1)</script>"),
        "a directory": text("in/DICOMDIR", bytes(128) + b"DICM" + bytes(64)),
        "a pipe": pipe(DCM),
        "a link to a secret": link(DCM),
        "a device": link(DCM, "/dev/zero"),
    },
    "shards": {
        "half of it": half(SHARD),
        "empty": text(SHARD, ""),
        "text": text(SHARD, "hello"),
        "a name that leads out": shard(member("../../canaries/x.png", b"x")),
        "a name from the root": shard(member("/etc/x.png", b"x")),
        "a link to a secret": shard(member("a.png", type=tarfile.SYMTYPE, linkname="../canaries/secret.txt")),
        "a hard link": shard(member("a.png", type=tarfile.LNKTYPE, linkname="../canaries/secret.txt")),
        "a device": shard(member("a.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5)),
        "a pipe": shard(member("a.png", type=tarfile.FIFOTYPE)),
        "a picture of a city": shard(member("a.png", png(40000, 40000)), member("a.json", FACTS)),
        "facts of text": shard(member("a.png", encoded(pixels(0), "PNG")), member("a.json", b"hello")),
        "facts that are deep": shard(member("a.png", encoded(pixels(0), "PNG")), member("a.json", b"[" * 100000)),
        "facts of bytes": shard(member("a.png", encoded(pixels(0), "PNG")), member("a.json", b"\xff\xfe\x00")),
        "a pickle for facts": shard(member("a.pkl", PICKLE), member("a.pyd", b"x")),
        "a name without end": shard(member("x" * 5000 + ".png", b"x")),
        "one key twice": shard(member("0.png", encoded(pixels(9), "PNG"))),
        "packed": shard(mode="w:gz"),
        "a size that lies": lambda room, *_: (room / SHARD).write_bytes(
            member("a.png")[0].tobuf().replace(b"00000000000\0", b"77777777777\0", 1)),
        "a pipe in its place": pipe(SHARD),
        "a link in its place": link(SHARD),
    },
    "dataset": {
        "half of the rows": half(ARROW),
        "no rows": text(ARROW, ""),
        "rows of text": text(ARROW, "hello"),
        "rows of lengths that lie": text(ARROW, struct.pack("<iiq", -1, 1 << 30, 1 << 60)),
        "info of text": text(INFO, "hello"),
        "info that is deep": text(INFO, "[" * 100000),
        "a builder's script": in_json(INFO, builder_name="evil", dataset_name="evil", download_checksums={"x": {}}),
        "features of a class": in_json(INFO, "features", "text", _type="evil.X"),
        "files elsewhere": in_json(STATE, _data_files=[{"filename": "../../canaries/secret.txt"}]),
        "files at an address": in_json(STATE, _data_files=[{"filename": "http://127.0.0.1:9/x.arrow"}]),
        "a format that runs": in_json(STATE, _format_type="evil", _format_kwargs={"x": "evil.X"}),
        "a fingerprint that leads out": in_json(STATE, _fingerprint="../../canaries/x"),
        "state of text": text(STATE, "hello"),
        "a script beside": lambda room, *_: shutil.copy(room / "evil.py", room / "in" / "in.py"),
        "rows that are a pickle": lambda room, canaries, command: write_pickle(room / ARROW, command),
        "rows that are a pipe": pipe(ARROW),
    },
    "texts": {
        "bytes": text(TXT, bytes(range(256))),
        "empty": text(TXT, ""),
        "a mebibyte": text(TXT, "x " * (1 << 19)),
        "a page": text(TXT, "<script>alert(1)</script>"),
        "signs that turn around": text(TXT, "a‮b ​ c"),
        "a pipe": pipe(TXT),
        "a link to a secret": link(TXT),
        "a device": link(TXT, "/dev/zero"),
        "a folder": folder(TXT),
        "a picture that is a folder": folder("in/0.png"),
        "folders in a ring": lambda room, *_: os.symlink("..", room / "in" / "ring"),
        "a text without a picture": text("in/999.txt", "x"),
    },
    "reports": {
        "half of it": half(ZIP),
        "empty": text(ZIP, ""),
        "text": text(ZIP, "hello"),
        "no files": reports(lambda archive: None),
        "names that lead out": reports(lambda archive: archive.writestr("../../canaries/x.txt", "FINDINGS: x")),
        "a bomb": reports(lambda archive: archive.writestr("files/p10/p10000000/s50000000.txt", bytes(1 << 28))),
        "bytes": reports(lambda archive: archive.writestr("files/p10/p10000000/s50000000.txt", bytes(range(256)) * 9)),
        "headings without end": reports(lambda archive: archive.writestr(
            "files/p10/p10000000/s50000000.txt", "FINDINGS:\n" * 200000)),
        "a number that is none": reports(lambda archive: archive.writestr("files/p10/px/sx.txt", "FINDINGS: x")),
        "many files": reports(lambda archive: [archive.writestr(f"files/p10/p1/s{i}.txt", "x") for i in range(30000)]),
        "a link to a secret": link(ZIP),
        "a pipe": pipe(ZIP),
    },
}  # fmt: skip


def cases() -> dict[str, tuple[str, Any]]:
    """Return all cases, see `hostile_files`."""
    return hostile_files.cases(KINDS)


def lay_out(case: Any, room: Path, canaries: Path, port: int) -> list[str]:
    """Write the files of a case, and return the arguments of its command."""
    told = hostile_files.lay_out(case, room, canaries, port, lay_good)
    return ["init", "in", "--base", "embedded", "--copies_among", "20", "--output", "mine.yaml", *told]
